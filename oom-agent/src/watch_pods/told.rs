//! Whether a node's agent has told a kill already. Pure.

use jiff::{SignedDuration, Timestamp};

use super::kills::Kill;
use crate::k8s::AgentEvent;

/// Kubernetes' times are cut to the second, and a container's end is noted after the kill.
const ROUNDING: SignedDuration = SignedDuration::from_secs(2);

/// An agent that counts a pod's kills on one Event brings it up to date some seconds later.
const COUNTING: SignedDuration = SignedDuration::from_mins(10);

/// Whether one of them is about that kill.
pub(super) fn by_agent(kill: &Kill, events: &[AgentEvent]) -> bool {
    events.iter().any(|event| is_about(kill, event))
}

fn is_about(kill: &Kill, event: &AgentEvent) -> bool {
    // The runtime's reason is cumulative: a kill in this container is what it tells of, however long ago.
    if event.container_id.as_deref() == Some(kill.bare_id()) {
        return true;
    }
    let same = event.pod_uid.as_deref() == Some(kill.uid.as_str())
        && event.container.as_deref() == Some(kill.container.as_str());
    if !same {
        return false;
    }
    // A pod that is killed again and again has one Event for many.
    let earliest = shifted(kill.finished_at, -COUNTING);
    if event.counted.is_some_and(|counted| counted >= earliest) {
        return true;
    }
    // An Event of which only the name of the container is known: in the life of the one that died.
    let begun = kill.ended.started_at.unwrap_or(kill.finished_at);
    let life = begun..=shifted(kill.finished_at, ROUNDING);
    event.container_id.is_none() && event.time.is_some_and(|time| life.contains(&time))
}

fn shifted(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::{Ended, List};

    fn at(time: &str) -> Timestamp {
        format!("2026-11-21T{time}Z").parse().unwrap()
    }

    fn kill() -> Kill {
        Kill {
            namespace: "shop".to_owned(),
            pod: "hungry".to_owned(),
            uid: "a38c".to_owned(),
            node: None,
            list: List::Containers,
            container: "main".to_owned(),
            ended: Ended {
                container_id: "containerd://17db".to_owned(),
                reason: "OOMKilled".to_owned(),
                exit_code: 137,
                started_at: Some(at("09:00:00")),
                finished_at: Some(at("09:10:00")),
            },
            finished_at: at("09:10:00"),
        }
    }

    fn event(container_id: Option<&str>, time: &str) -> AgentEvent {
        AgentEvent {
            pod_uid: Some("a38c".to_owned()),
            container: Some("main".to_owned()),
            container_id: container_id.map(str::to_owned),
            time: Some(at(time)),
            counted: None,
        }
    }

    #[test]
    fn an_event_about_the_same_container_is() {
        assert!(by_agent(&kill(), &[event(Some("17db"), "09:09:59.5")]));
        // A child was killed, and the container ended otherwise a while later.
        assert!(by_agent(&kill(), &[event(Some("17db"), "09:00:01")]));
        assert!(!by_agent(&kill(), &[event(Some("99ff"), "09:09:59.5")]));
        assert!(!by_agent(&kill(), &[]));
    }

    #[test]
    fn without_an_id_the_life_of_the_dead_one_tells() {
        assert!(by_agent(&kill(), &[event(None, "09:10:00.9")]));
        assert!(!by_agent(&kill(), &[event(None, "08:59:59.9")]));
        assert!(!by_agent(&kill(), &[event(None, "09:10:03")]));
        let mut sibling = event(None, "09:10:00");
        sibling.container = Some("sibling".to_owned());
        let mut replaced = event(None, "09:10:00");
        replaced.pod_uid = Some("b49d".to_owned());
        assert!(!by_agent(&kill(), &[sibling, replaced]));
    }

    #[test]
    fn an_agent_that_counts_many_on_one_event_counts_this() {
        let mut counting = event(Some("99ff"), "08:30:00");
        counting.counted = Some(at("09:05:00"));
        assert!(by_agent(&kill(), &[counting.clone()]));
        counting.counted = Some(at("08:55:00"));
        assert!(!by_agent(&kill(), &[counting]));
    }
}
