//! A kill in the words of its Event, and as an incident. Pure.

use jiff::Timestamp;

use super::kills::Kill;
use crate::incident::{Container, Incident, Outcome, Pod, Scope, VERSION, Victim};
use crate::k8s::Note;

/// As kubernetes-oom-event-generator's, so that alerts on it go on working.
const REASON: &str = "PreviousContainerWasOOMKilled";

/// What an incident tells and the API server does not know.
const UNKNOWN: [&str; 19] = [
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
    "victims[0].comm",
    "victims[0].cmdline",
    "victims[0].parent_pid",
    "victims[0].namespace_pid",
    "victims[0].start_boot_ns",
    "victims[0].uid",
    "victims[0].oom_score_adj",
    "victims[0].rss_bytes",
    "victims[0].first_process",
];

/// The same for `victims[0].cgroup`, whose pod and container are known nevertheless.
const NO_CGROUP: &str = "victims[0].cgroup";

/// Its Event. The id is that of the instance that died.
pub(super) fn note(kill: &Kill) -> Note {
    Note {
        namespace: kill.namespace.clone(),
        pod: kill.pod.clone(),
        uid: kill.uid.clone(),
        node: kill.node.clone(),
        container: (kill.list, kill.container.clone()),
        suffix: kill.id(),
        time: kill.finished_at,
        reason: REASON,
        text: format!(
            "The previous instance of the container '{}' ({}) was OOMKilled",
            kill.container, kill.ended.container_id
        ),
        container_id: kill.bare_id().to_owned(),
    }
}

/// As far as a pod's status tells; the rest is null, and `degraded` says so. It is `now` on the wall,
/// and `now_ns` by `CLOCK_MONOTONIC`.
pub(super) fn incident(kill: &Kill, now: Timestamp, now_ns: u64) -> Incident {
    let some = |text: &str| Some(text.to_owned());
    let reason = "the API server does not know it";
    let unknown = UNKNOWN.into_iter().chain([NO_CGROUP]);
    let mut degraded: Vec<String> = unknown.map(|field| format!("{field}: {reason}")).collect();
    degraded.push("time: the second in which the container ended, by its node's clock".to_owned());
    if kill.node.is_none() {
        degraded.push("node: the pod's spec names none".to_owned());
    }
    let age = now.duration_since(kill.finished_at);
    let age_ns = u64::try_from(age.as_nanos()).unwrap_or_default();
    Incident {
        version: VERSION,
        id: kill.id(),
        time: kill.finished_at,
        node: kill.node.clone().unwrap_or_default(),
        scope: Scope::Unknown,
        limit_bytes: None,
        limit_cgroup: None,
        limit_kind: None,
        limit_lowered: false,
        setting: None,
        holders: Vec::new(),
        oom: None,
        outcome: Outcome::ContainerDied,
        trigger: None,
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
        memory: Vec::new(),
        before: None,
        degraded,
        stamp_ns: now_ns.saturating_sub(age_ns),
        stamps: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::incident::sentence;
    use crate::k8s::{Ended, List};

    fn kill() -> Kill {
        let finished_at = "2026-11-21T09:00:00Z".parse().unwrap();
        Kill {
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
    fn the_event_says_what_it_always_said_with_the_dead_ones_id() {
        let note = note(&kill());
        assert_eq!(
            note.text,
            "The previous instance of the container 'fill' (containerd://17db96a24ae1e9dd57143e62) was OOMKilled"
        );
        assert_eq!(note.suffix, "k8s-a38c12e8-17db96a24ae1e9dd-1795251600");
    }

    #[test]
    fn the_line_keeps_its_contract_and_says_what_is_not_known() {
        let now = "2026-11-21T09:00:01.5Z".parse().unwrap();
        let incident = incident(&kill(), now, 5_000_000_000);
        assert_eq!(incident.stamp_ns, 3_500_000_000);
        let line = serde_json::to_value(&incident).unwrap();
        assert_eq!(line["time"], "2026-11-21T09:00:00.000000000Z");
        assert_eq!(line["outcome"], "container-died");
        assert_eq!(line["victims"][0]["container"]["runtime"], "containerd");
        let degraded = line["degraded"].as_array().unwrap();
        let told = |field: &str| {
            let prefix = format!("{field}: ");
            let tells = |entry: &Value| entry.as_str().unwrap().starts_with(&prefix);
            degraded.iter().any(tells)
        };
        let nulls = |value: &Value, prefix: &str| -> Vec<String> {
            let fields = value.as_object().unwrap().iter();
            let null = fields.filter(|(_, value)| value.is_null());
            null.map(|(name, _)| format!("{prefix}{name}")).collect()
        };
        let mut null = nulls(&line, "");
        null.extend(nulls(&line["victims"][0], "victims[0]."));
        // Nobody asked for it.
        null.retain(|field| field != "victims[0].environment");
        assert!(
            null.iter().all(|field| told(field)),
            "{null:?} {degraded:?}"
        );
        assert!(told("scope") && told("victims[0].pid"));
        assert_eq!(line["victims"][0]["pid"], json!(0));
    }

    #[test]
    fn the_sentence_names_no_pid() {
        let now = "2026-11-21T09:00:01Z".parse().unwrap();
        assert_eq!(
            sentence(&incident(&kill(), now, 0)),
            "A process was OOM-killed in container fill of pod shop/hungry; the container died"
        );
    }
}
