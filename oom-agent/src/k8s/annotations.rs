//! An Event's annotations: the incident for machines. Pure.
//!
//! Everyone with access to a namespace can read its Events. So neither command lines (they may carry
//! passwords) nor environment variables go here.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use service::escape;

use super::draft::{Draft, Regarding, Subject};
use super::pod::Pod;
use crate::incident::{Incident, Victim};
use crate::report::Report;
use crate::warn;

/// Victims in the list; `victims-total` counts all.
const MAX_VICTIMS: usize = 16;

/// Entries of `degraded`.
const MAX_REASONS: usize = 16;

/// The longest value, in bytes.
const TEXT_LEN: usize = 512;

/// Annotations, and where an incident's JSON line has them.
const KILL: [(&str, &str); 13] = [
    ("incident", "/id"),
    ("scope", "/scope"),
    ("limit-bytes", "/limit_bytes"),
    ("limit-cgroup", "/limit_cgroup"),
    ("setting-bytes", "/setting/limit_bytes"),
    ("setting-cgroup", "/setting/cgroup"),
    ("constraint", "/oom/constraint"),
    ("order", "/oom/order"),
    ("trigger-pid", "/trigger/pid"),
    ("trigger-comm", "/trigger/comm"),
    ("growth", "/before/verdict"),
    ("slope-bytes-per-second", "/before/slope_bytes_per_second"),
    ("half-to-limit-ms", "/before/half_to_limit_ms"),
];

/// The same of a mismatch.
const MISMATCH: [(&str, &str); 4] = [
    ("verdict", "/verdict"),
    ("status-state", "/status/state"),
    ("status-reason", "/status/reason"),
    ("status-exit-code", "/status/exit_code"),
];

/// The same of a warning.
const WARNING: [(&str, &str); 7] = [
    ("warning", "/warning"),
    ("mark", "/mark"),
    ("usage-bytes", "/usage_bytes"),
    ("working-set-bytes", "/working_set_bytes"),
    ("limit-bytes", "/limit_bytes"),
    ("signal", "/signal/name"),
    ("signalled", "/signal/sent"),
];

#[derive(Default)]
struct Annotations(BTreeMap<String, String>);

/// `pod` is what the API server knows of it, or why that is missing.
pub(super) fn build(draft: &Draft, pod: Result<&Pod, &str>) -> BTreeMap<String, String> {
    let mut all = Annotations::default();
    match &draft.report {
        Report::Incident(_) | Report::NoVictim(_) => {}
        Report::Mismatch(mismatch) => all.put_fields(&MISMATCH, mismatch.as_ref()),
        Report::Warning(warning) => {
            all.put_fields(&WARNING, warning.as_ref());
            let left = warning.crossing.forecast.map(|left| left.as_secs_f64());
            all.put("seconds-to-limit", left.map(|left| format!("{left:.1}")));
        }
        Report::BadAnnotations(annotations) => {
            let names = annotations.errors.iter().map(|error| error.name);
            all.put("not-heeded", json!(names.collect::<Vec<_>>()));
        }
    }
    let incident = draft.report.incident();
    if let Some(incident) = incident {
        all.put_kill(draft, incident);
    }
    let container = draft
        .subject()
        .and_then(|subject| subject.container.as_ref());
    let name = container.and_then(|container| container.name.as_deref());
    all.put("container-id", container.map(|it| escaped(&it.id)));
    all.put("container", name.map(escaped));
    let degraded = incident.into_iter().flat_map(|it| &it.degraded);
    let degraded = degraded.filter(|entry| !is_named_by_now(draft, entry));
    let mut degraded: Vec<String> = degraded.map(|text| escaped(text)).collect();
    if let (Regarding::Pod(_), Ok(pod)) = (&draft.regarding, pod) {
        let kind = name.and_then(|name| pod.container_kind(name));
        all.put("container-kind", kind);
        all.put("owner", pod.owner());
        all.put("pod-api-uid", pod.api_uid().map(escaped));
    }
    if let Err(reason) = pod {
        degraded.truncate(MAX_REASONS - 1);
        degraded.push(format!("owner, container-kind: {}", escaped(reason)));
    }
    if let Regarding::Node(Some(lost)) = &draft.regarding {
        all.put("pod-uid", lost.pod.uid.as_deref().map(escaped));
    }
    all.put(
        "held-back",
        Some(draft.held_back).filter(|count| *count > 0),
    );
    degraded.truncate(MAX_REASONS);
    all.put("degraded", Some(degraded).filter(|all| !all.is_empty()));
    all.0
}

// === impl Annotations ===

impl Annotations {
    /// Leaves out what is null.
    fn put(&mut self, key: &str, value: impl Into<Value>) {
        let text = match value.into() {
            Value::Null => return,
            Value::String(text) => text,
            value => value.to_string(),
        };
        self.0.insert(format!("{}{key}", warn::PREFIX), text);
    }

    fn put_fields(&mut self, fields: &[(&str, &str)], of: &impl Serialize) {
        let line = serde_json::to_value(of).unwrap_or_default();
        for (key, path) in fields {
            match line.pointer(path) {
                Some(Value::String(text)) => self.put(key, escaped(text)),
                value => self.put(key, value.cloned()),
            }
        }
    }

    fn put_kill(&mut self, draft: &Draft, incident: &Incident) {
        self.put_fields(&KILL, incident);
        self.put("outcome", json!(draft.outcome()));
        let mask = incident.oom.as_ref().map(|oom| oom.gfp_mask);
        self.put("gfp-mask", mask.map(|mask| format!("{mask:#x}")));
        if let Some(before) = &incident.before {
            self.put("usage-permille", before.permille().collect::<Vec<u32>>());
        }
        let victims = draft.victims();
        let is_on_node = matches!(draft.regarding, Regarding::Node(_));
        let listed = victims.iter().take(MAX_VICTIMS);
        let listed = listed.map(|victim| victim_json(victim, is_on_node));
        self.put("victims", listed.collect::<Vec<Value>>());
        if victims.len() > MAX_VICTIMS {
            self.put("victims-total", draft.victim_count());
        }
    }
}

/// The victims of an Event on the Node may belong to any pod.
fn victim_json(victim: &Victim, with_owner: bool) -> Value {
    let mut value = json!({
        "pid": victim.pid,
        "comm": victim.comm.as_deref().map(escaped),
        "namespace_pid": victim.namespace_pid,
        "uid": victim.uid,
        "oom_score_adj": victim.oom_score_adj,
        "rss_bytes": victim.rss_bytes,
    });
    if with_owner && let Value::Object(fields) = &mut value {
        let name = victim.container.as_ref().and_then(|it| it.name.as_deref());
        let pod = victim.pod.as_ref();
        let pod = pod.and_then(|pod| Some((pod.namespace.as_ref()?, pod.name.as_ref()?)));
        let pod = pod.map(|(namespace, name)| format!("{namespace}/{name}"));
        fields.extend([
            ("container".to_owned(), json!(name.map(escaped))),
            ("pod".to_owned(), json!(pod.as_deref().map(escaped))),
            (
                "cgroup".to_owned(),
                json!(victim.cgroup.as_deref().map(escaped)),
            ),
        ]);
    }
    value
}

/// Whether the entry of `degraded` is about a name that was found since the incident was reported.
fn is_named_by_now(draft: &Draft, entry: &str) -> bool {
    let Some(Subject { container, .. }) = draft.subject() else {
        return false;
    };
    let id = container.as_ref().map(|container| &container.id);
    let has_name = container.as_ref().is_some_and(|it| it.name.is_some());
    let victims = draft.report.kills().map_or(&[][..], |it| &it.victims);
    victims.iter().enumerate().any(|(n, victim)| {
        let is_of = |field| entry.starts_with(&format!("victims[{n}].{field}: "));
        victim.container.as_ref().map(|container| &container.id) == id
            && ((has_name && is_of("container.name")) || (draft.is_on_named_pod() && is_of("pod")))
    })
}

fn escaped(text: &str) -> String {
    escape::terminal_bounded(text, TEXT_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::draft;
    use crate::k8s::fake::{incident, leak};

    #[test]
    fn the_history_is_given_in_figures() {
        let mut incident = incident();
        incident.before = Some(leak());
        let drafts = draft::draft_events(&incident.into(), true);
        let all = super::build(&drafts[0], Err("not looked up"));
        let check = |key: &str, value: &str| {
            let found = all.get(&format!("oom-bonker.dev/{key}"));
            assert_eq!(found.map(String::as_str), Some(value), "{key}");
        };
        check("growth", "leak");
        check("slope-bytes-per-second", "1048576");
        check("half-to-limit-ms", "32000");
        check("usage-permille", "[500,750,1000]");
    }

    #[test]
    fn a_name_that_was_found_later_is_not_degraded() {
        let mut incident = incident();
        let victim = &mut incident.victims[0];
        let (container, pod) = (victim.container.clone().unwrap(), victim.pod.clone());
        victim.container.as_mut().unwrap().name = None;
        victim.pod.as_mut().unwrap().name = None;
        let fields = [
            "victims[0].container.name",
            "victims[0].pod",
            "victims[1].pod",
        ];
        incident.degraded = fields.map(|field| format!("{field}: no answer")).into();
        let mut draft = draft::draft_events(&incident.into(), true).remove(0);
        let degraded = |draft: &Draft| {
            let all = super::build(draft, Ok(&Pod::default()));
            all["oom-bonker.dev/degraded"].matches("no answer").count()
        };
        assert_eq!(degraded(&draft), 3);
        draft.set_names(container, pod);
        assert_eq!(degraded(&draft), 1);
    }
}
