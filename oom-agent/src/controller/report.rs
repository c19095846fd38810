//! A kill as an incident. Pure.

use jiff::Timestamp;
use oom_capture::Process;

use crate::incident::{Container, Incident, Outcome, Pod, Victim};
use crate::k8s::StatusKill;

/// Fields of an incident that the API server does not know, beside those that the kernel has of a victim.
const UNKNOWN: [&str; 11] = [
    "memory",
    "before",
    "scope",
    "limit_bytes",
    "limit_cgroup",
    "limit_kind",
    "setting",
    "oom",
    "trigger",
    "victims[0].pid",
    "victims[0].first_process",
];

/// With what a pod's status has; the rest is null and named in `degraded`. `now` is wall time,
/// `now_ns` `CLOCK_MONOTONIC`.
pub(super) fn status_incident(kill: &StatusKill, now: Timestamp, now_ns: u64) -> Incident {
    let some = |text: &str| Some(text.to_owned());
    let reason = "the API server does not know it";
    let unknown = UNKNOWN.iter().map(|field| format!("{field}: {reason}"));
    let of_victim = Process::default().missing_fields();
    let of_victim = of_victim.map(|field| format!("victims[0].{field}: {reason}"));
    let mut degraded: Vec<String> = unknown.chain(of_victim).collect();
    degraded.push("time: the second in which the container ended, by its node's clock".to_owned());
    if kill.node.is_none() {
        degraded.push("node: the pod's spec names none".to_owned());
    }
    let age = now.duration_since(kill.finished_at);
    let age_ns = u64::try_from(age.as_nanos()).unwrap_or_default();
    Incident {
        outcome: Outcome::ContainerDied,
        victim_count: 1,
        victims: vec![Victim {
            container: Some(Container {
                id: kill.bare_id().to_owned(),
                name: some(&kill.container),
                runtime: kill.runtime().map(str::to_owned),
            }),
            pod: Some(Pod {
                namespace: some(&kill.namespace),
                name: some(&kill.pod),
                uid: some(&kill.uid),
            }),
            ..Victim::default()
        }],
        degraded,
        stamp_ns: now_ns.saturating_sub(age_ns),
        ..Incident::new(
            kill.id(),
            kill.finished_at,
            kill.node.clone().unwrap_or_default(),
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::incident::sentence;
    use crate::k8s::{Ended, List};

    fn kill() -> StatusKill {
        let finished_at = "2026-11-21T09:00:00Z".parse().unwrap();
        StatusKill {
            namespace: "shop".to_owned(),
            pod: "hungry".to_owned(),
            uid: "a38c12e8-255a-11e9-8cd9-0007cb0b2cc8".to_owned(),
            node: Some("node-a".to_owned()),
            list: List::InitContainers,
            container: "fill".to_owned(),
            ended: Ended {
                container_id: "containerd://17db96a24ae1e9dd57143e62".to_owned(),
                reason: "OOMKilled".to_owned(),
                exit_code: 137,
                started_at: None,
                finished_at: Some(finished_at),
            },
            finished_at,
        }
    }

    #[test]
    fn the_line_keeps_its_contract_and_names_unknown_fields() {
        let now = "2026-11-21T09:00:01.5Z".parse().unwrap();
        let incident = status_incident(&kill(), now, 5_000_000_000);
        assert_eq!(incident.stamp_ns, 3_500_000_000);
        let line = serde_json::to_value(&incident).unwrap();
        assert_eq!(line["time"], "2026-11-21T09:00:00.000000000Z");
        assert_eq!(line["outcome"], "container-died");
        assert_eq!(line["victims"][0]["container"]["runtime"], "containerd");
        let degraded = line["degraded"].as_array().unwrap();
        let is_degraded = |field: &str| {
            let prefix = format!("{field}: ");
            let matches = |entry: &Value| entry.as_str().unwrap().starts_with(&prefix);
            degraded.iter().any(matches)
        };
        let nulls = |value: &Value, prefix: &str| -> Vec<String> {
            let fields = value.as_object().unwrap().iter();
            let null = fields.filter(|(_, value)| value.is_null());
            null.map(|(name, _)| format!("{prefix}{name}")).collect()
        };
        let mut null = nulls(&line, "");
        null.extend(nulls(&line["victims"][0], "victims[0]."));
        // It is read only on request.
        null.retain(|field| field != "victims[0].environment");
        assert!(
            null.iter().all(|field| is_degraded(field)),
            "{null:?} {degraded:?}"
        );
        assert!(is_degraded("scope") && is_degraded("victims[0].pid"));
        assert_eq!(line["victims"][0]["pid"], json!(0));
    }

    #[test]
    fn the_sentence_names_no_pid() {
        let now = "2026-11-21T09:00:01Z".parse().unwrap();
        assert_eq!(
            sentence(&status_incident(&kill(), now, 0)),
            "A process was OOM-killed in container fill of pod shop/hungry; the container died"
        );
    }
}
