//! An Event's annotations: the incident for machines. Pure.
//!
//! Everyone with access to a namespace can read its Events. So neither command lines (they may carry
//! passwords) nor environment variables go here.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use service::escape;

use super::draft::{Draft, Regarding};
use super::pod::Pod;
use crate::incident::{Incident, Victim};
use crate::report::Report;
use crate::status_check::{Mismatch, State};
use crate::warn::Warning;

const PREFIX: &str = "oom-bonker.dev/";

/// Victims in the list; `victims-total` counts all.
const MAX_VICTIMS: usize = 16;

/// Entries of `degraded`.
const MAX_REASONS: usize = 16;

/// The longest value, in bytes.
const TEXT_LEN: usize = 512;

/// `pod` is what the API server knows of it, or why that is missing.
pub(super) fn build(draft: &Draft, pod: Result<&Pod, &str>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut put = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            all.insert(format!("{PREFIX}{key}"), value);
        }
    };
    match &draft.report {
        Report::Incident(incident) => put_kill(draft, incident, &mut put),
        Report::Mismatch(mismatch) => {
            put_mismatch(mismatch, &mut put);
            put_kill(draft, &mismatch.incident, &mut put);
        }
        Report::Warning(warning) => put_warning(warning, &mut put),
        Report::NoVictim(no_victim) => put_kill(draft, &no_victim.incident, &mut put),
        Report::BadAnnotations(annotations) => {
            let names = annotations.errors.iter().map(|error| error.name);
            put(
                "not-heeded",
                Some(json!(names.collect::<Vec<_>>()).to_string()),
            );
        }
    }
    let subject = draft.subject();
    let container = subject.and_then(|subject| subject.container.as_ref());
    if let Some(container) = container {
        put("container-id", Some(escaped(&container.id)));
        put("container", container.name.as_deref().map(escaped));
    }
    let degraded = draft
        .report
        .incident()
        .map_or(&[][..], |incident| &incident.degraded);
    let mut degraded: Vec<String> = degraded.iter().map(|text| escaped(text)).collect();
    if let (Regarding::Pod(_), Ok(pod)) = (&draft.regarding, pod) {
        let name = container.and_then(|container| container.name.as_ref());
        let kind = name.and_then(|name| pod.container_kind(name));
        put("container-kind", kind.map(str::to_owned));
        put("owner", pod.owner());
        put("pod-api-uid", pod.api_uid().map(escaped));
    }
    if let Err(reason) = pod {
        degraded.truncate(MAX_REASONS - 1);
        degraded.push(format!("owner, container-kind: {}", escaped(reason)));
    }
    if let Regarding::Node(Some(lost)) = &draft.regarding {
        put("pod-uid", lost.pod.uid.as_deref().map(escaped));
    }
    if draft.held_back > 0 {
        put("held-back", Some(draft.held_back.to_string()));
    }
    degraded.truncate(MAX_REASONS);
    if !degraded.is_empty() {
        put("degraded", Some(json!(degraded).to_string()));
    }
    all
}

fn put_kill(draft: &Draft, incident: &Incident, put: &mut impl FnMut(&str, Option<String>)) {
    put("incident", Some(escaped(&incident.id)));
    put("scope", json_name(&incident.scope));
    put("outcome", json_name(&draft.outcome()));
    put(
        "limit-bytes",
        incident.limit_bytes.map(|bytes| bytes.to_string()),
    );
    put(
        "limit-cgroup",
        incident.limit_cgroup.as_deref().map(escaped),
    );
    if let Some(setting) = &incident.setting {
        put("setting-bytes", Some(setting.limit_bytes.to_string()));
        put("setting-cgroup", Some(escaped(&setting.cgroup)));
    }
    if let Some(oom) = &incident.oom {
        put("constraint", Some(escaped(&oom.constraint)));
        put("gfp-mask", Some(format!("{:#x}", oom.gfp_mask)));
        put("order", Some(oom.order.to_string()));
    }
    if let Some(trigger) = &incident.trigger {
        put("trigger-pid", Some(trigger.pid.to_string()));
        put("trigger-comm", Some(escaped(&trigger.comm)));
    }
    if let Some(before) = &incident.before {
        put("growth", json_name(&before.pattern));
        let slope = before.slope_bytes_per_second;
        put("slope-bytes-per-second", slope.map(|it| it.to_string()));
        let half = before.half_to_limit_ms;
        put("half-to-limit-ms", half.map(|ms| ms.to_string()));
        let permille: Vec<u32> = before.permille().collect();
        put("usage-permille", Some(json!(permille).to_string()));
    }
    let victims = draft.victims();
    let first = victims.iter().take(MAX_VICTIMS);
    let listed: Vec<Value> = match draft.regarding {
        Regarding::Pod(_) => first.map(|victim| victim_json(victim)).collect(),
        Regarding::Node(_) => first.map(|victim| victim_json_with_owner(victim)).collect(),
    };
    put("victims", Some(Value::Array(listed).to_string()));
    if victims.len() > MAX_VICTIMS {
        put("victims-total", Some(draft.victim_count().to_string()));
    }
}

fn put_mismatch(mismatch: &Mismatch, put: &mut impl FnMut(&str, Option<String>)) {
    put("verdict", json_name(&mismatch.verdict));
    let status = &mismatch.status;
    put("status-state", json_name(&status.state));
    let reason = Some(&status.reason).filter(|reason| !reason.is_empty());
    put("status-reason", reason.map(|reason| escaped(reason)));
    if status.state == State::Exited {
        put("status-exit-code", Some(status.exit_code.to_string()));
    }
}

fn put_warning(warning: &Warning, put: &mut impl FnMut(&str, Option<String>)) {
    let (crossing, usage) = (&warning.crossing, &warning.crossing.sample);
    put("warning", json_name(&crossing.level));
    put("mark", Some(escaped(&warning.threshold)));
    put("usage-bytes", Some(usage.current.to_string()));
    put("working-set-bytes", Some(usage.working_set.to_string()));
    put("limit-bytes", usage.limit.map(|bytes| bytes.to_string()));
    let left = crossing.forecast.map(|left| left.as_secs_f64());
    put(
        "seconds-to-limit",
        left.map(|seconds| format!("{seconds:.1}")),
    );
    let signal = warning.signal.as_ref();
    put("signal", signal.map(|signal| escaped(&signal.name)));
    put("signalled", signal.map(|signal| signal.sent.to_string()));
}

fn victim_json(victim: &Victim) -> Value {
    json!({
        "pid": victim.pid,
        "comm": victim.comm.as_deref().map(escaped),
        "namespace_pid": victim.namespace_pid,
        "uid": victim.uid,
        "oom_score_adj": victim.oom_score_adj,
        "rss_bytes": victim.rss_bytes,
    })
}

/// The victims of an Event on the Node may belong to any pod.
fn victim_json_with_owner(victim: &Victim) -> Value {
    let mut value = victim_json(victim);
    let container = victim.container.as_ref();
    let pod = victim.pod.as_ref();
    let pod = pod.and_then(|pod| Some((pod.namespace.as_deref()?, pod.name.as_deref()?)));
    if let Value::Object(fields) = &mut value {
        let name = container.and_then(|container| container.name.as_deref());
        fields.insert("container".to_owned(), json!(name.map(escaped)));
        let pod = pod.map(|(namespace, name)| escaped(&format!("{namespace}/{name}")));
        fields.insert("pod".to_owned(), json!(pod));
        fields.insert(
            "cgroup".to_owned(),
            json!(victim.cgroup.as_deref().map(escaped)),
        );
    }
    value
}

/// The name that the JSON line has for it.
fn json_name(value: &impl serde::Serialize) -> Option<String> {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => Some(name),
        _ => None,
    }
}

fn escaped(text: &str) -> String {
    let text = escape::terminal(escape::truncate(text, TEXT_LEN)).to_string();
    escape::truncate(&text, TEXT_LEN).to_owned()
}

#[cfg(test)]
mod tests {

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
}
