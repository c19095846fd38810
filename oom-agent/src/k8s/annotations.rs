//! The rest of an incident, for machines: an Event's annotations. Pure.
//!
//! Everybody who may look at a namespace may read its Events, so that neither command lines (they carry
//! passwords) nor anything of an environment goes here.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use service::escape;

use super::draft::{Draft, On};
use super::facts::Facts;
use crate::incident::{Incident, Victim};
use crate::report::Report;
use crate::status_check::{Mismatch, State};
use crate::warn::Warning;

/// Before every key.
const PREFIX: &str = "oom-bonker.dev/";

/// Victims that are listed; `victims-total` tells of more.
const VICTIMS: usize = 16;

/// Reasons in `degraded`.
const REASONS: usize = 16;

/// The longest text taken over, in bytes.
const TEXT_LEN: usize = 512;

/// `facts` is what the API server told of the pod, else why it did not.
pub(super) fn of(draft: &Draft, facts: Result<&Facts, &str>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut put = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            all.insert(format!("{PREFIX}{key}"), value);
        }
    };
    match &draft.report {
        Report::Incident(incident) => kill(draft, incident, &mut put),
        Report::Mismatch(mismatch) => {
            verdict(mismatch, &mut put);
            kill(draft, &mismatch.incident, &mut put);
        }
        Report::Warning(of) => warning(of, &mut put),
        Report::NoVictim(told) => kill(draft, &told.incident, &mut put),
        Report::BadAnnotations(unheeded) => {
            let names = unheeded.errors.iter().map(|error| error.name);
            put(
                "not-heeded",
                Some(json!(names.collect::<Vec<_>>()).to_string()),
            );
        }
    }
    let subject = draft.subject();
    let container = subject.and_then(|subject| subject.container.as_ref());
    if let Some(container) = container {
        put("container-id", Some(safe(&container.id)));
        put("container", container.name.as_deref().map(safe));
    }
    let degraded = draft
        .report
        .incident()
        .map_or(&[][..], |incident| &incident.degraded);
    let mut degraded: Vec<String> = degraded.iter().map(|text| safe(text)).collect();
    if let (On::Pod(_), Ok(facts)) = (&draft.on, facts) {
        let kind = container
            .and_then(|container| container.name.as_ref())
            .and_then(|name| facts.containers.get(name));
        put("container-kind", kind.map(|kind| kind.as_str().to_owned()));
        put("owner", facts.owner.clone());
        put("pod-api-uid", facts.api_uid.as_deref().map(safe));
    }
    if let Err(reason) = facts {
        degraded.truncate(REASONS - 1);
        degraded.push(format!("owner, container-kind: {}", safe(reason)));
    }
    if let On::Node(Some(lost)) = &draft.on {
        put("pod-uid", lost.pod.uid.as_deref().map(safe));
    }
    if draft.held_back > 0 {
        put("held-back", Some(draft.held_back.to_string()));
    }
    degraded.truncate(REASONS);
    if !degraded.is_empty() {
        put("degraded", Some(json!(degraded).to_string()));
    }
    all
}

fn kill(draft: &Draft, incident: &Incident, put: &mut impl FnMut(&str, Option<String>)) {
    put("incident", Some(safe(&incident.id)));
    put("scope", word(&incident.scope));
    put("outcome", word(&draft.outcome()));
    put(
        "limit-bytes",
        incident.limit_bytes.map(|bytes| bytes.to_string()),
    );
    put("limit-cgroup", incident.limit_cgroup.as_deref().map(safe));
    if let Some(setting) = &incident.setting {
        put("setting-bytes", Some(setting.limit_bytes.to_string()));
        put("setting-cgroup", Some(safe(&setting.cgroup)));
    }
    if let Some(oom) = &incident.oom {
        put("constraint", Some(safe(&oom.constraint)));
        put("gfp-mask", Some(format!("{:#x}", oom.gfp_mask)));
        put("order", Some(oom.order.to_string()));
    }
    if let Some(trigger) = &incident.trigger {
        put("trigger-pid", Some(trigger.pid.to_string()));
        put("trigger-comm", Some(safe(&trigger.comm)));
    }
    if let Some(before) = &incident.before {
        put("growth", word(&before.pattern));
        let slope = before.slope_bytes_per_second;
        put("slope-bytes-per-second", slope.map(|it| it.to_string()));
        let half = before.half_to_limit_ms;
        put("half-to-limit-ms", half.map(|ms| ms.to_string()));
        let permille: Vec<u32> = before.permille().collect();
        put("usage-permille", Some(json!(permille).to_string()));
    }
    let victims = draft.victims();
    let told = victims.iter().take(VICTIMS);
    let listed: Vec<Value> = match draft.on {
        On::Pod(_) => told.map(|v| victim(v)).collect(),
        On::Node(_) => told.map(|v| placed(v)).collect(),
    };
    put("victims", Some(Value::Array(listed).to_string()));
    if victims.len() > VICTIMS {
        put("victims-total", Some(draft.victim_count().to_string()));
    }
}

fn verdict(mismatch: &Mismatch, put: &mut impl FnMut(&str, Option<String>)) {
    put("verdict", word(&mismatch.verdict));
    let status = &mismatch.status;
    put("status-state", word(&status.state));
    let reason = Some(&status.reason).filter(|reason| !reason.is_empty());
    put("status-reason", reason.map(|reason| safe(reason)));
    if status.state == State::Exited {
        put("status-exit-code", Some(status.exit_code.to_string()));
    }
}

fn warning(warning: &Warning, put: &mut impl FnMut(&str, Option<String>)) {
    let (crossing, usage) = (&warning.crossing, &warning.crossing.sample);
    put("warning", word(&crossing.level));
    put("mark", Some(safe(&warning.threshold)));
    put("usage-bytes", Some(usage.current.to_string()));
    put("working-set-bytes", Some(usage.working_set.to_string()));
    put("limit-bytes", usage.limit.map(|bytes| bytes.to_string()));
    let left = crossing.forecast.map(|left| left.as_secs_f64());
    put(
        "seconds-to-limit",
        left.map(|seconds| format!("{seconds:.1}")),
    );
    let signal = warning.signal.as_ref();
    put("signal", signal.map(|signal| safe(&signal.name)));
    put("signalled", signal.map(|signal| signal.sent.to_string()));
}

fn victim(victim: &Victim) -> Value {
    json!({
        "pid": victim.pid,
        "comm": victim.comm.as_deref().map(safe),
        "namespace_pid": victim.namespace_pid,
        "uid": victim.uid,
        "oom_score_adj": victim.oom_score_adj,
        "rss_bytes": victim.rss_bytes,
    })
}

/// On the Node, an Event's victims are anybody's.
fn placed(found: &Victim) -> Value {
    let mut value = victim(found);
    let container = found.container.as_ref();
    let pod = found.pod.as_ref();
    let pod = pod.and_then(|pod| Some((pod.namespace.as_deref()?, pod.name.as_deref()?)));
    if let Value::Object(fields) = &mut value {
        let name = container.and_then(|container| container.name.as_deref());
        fields.insert("container".to_owned(), json!(name.map(safe)));
        let pod = pod.map(|(namespace, name)| safe(&format!("{namespace}/{name}")));
        fields.insert("pod".to_owned(), json!(pod));
        fields.insert(
            "cgroup".to_owned(),
            json!(found.cgroup.as_deref().map(safe)),
        );
    }
    value
}

/// As the JSON line spells it.
fn word(value: &impl serde::Serialize) -> Option<String> {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => Some(word),
        _ => None,
    }
}

fn safe(text: &str) -> String {
    let text = escape::terminal(escape::truncate(text, TEXT_LEN)).to_string();
    escape::truncate(&text, TEXT_LEN).to_owned()
}

#[cfg(test)]
mod tests {

    use crate::k8s::draft;
    use crate::k8s::fake::{incident, leak};

    #[test]
    fn the_minute_before_is_there_in_figures() {
        let mut incident = incident();
        incident.before = Some(leak());
        let drafts = draft::drafts(&incident.into(), true);
        let all = super::of(&drafts[0], Err("not asked"));
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
