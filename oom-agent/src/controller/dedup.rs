//! Whether a node's agent has reported a kill already. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::k8s::{AgentEvent, StatusKill};

/// Kubernetes truncates times to the second, and records a container's end after the kill.
const ROUNDING: SignedDuration = SignedDuration::from_secs(2);

/// A container whose child was killed ends because of it within this time. A later end by SIGKILL is another kill.
const AFTERMATH: SignedDuration = SignedDuration::from_mins(10);

/// 128 + SIGKILL.
const SIGKILLED: i32 = 137;

pub(super) fn is_reported_by_agent(kill: &StatusKill, events: &[AgentEvent]) -> bool {
    events.iter().any(|event| is_about(kill, event))
}

fn is_about(kill: &StatusKill, event: &AgentEvent) -> bool {
    let (first, last) = (event.time, event.counted.max(event.time));
    if event.container_id.as_deref() == Some(kill.bare_id()) {
        // The runtime's reason is cumulative: a container that ended otherwise keeps the reason of an earlier kill.
        return kill.ended.exit_code != SIGKILLED
            || last.is_none_or(|last| last >= shifted(kill.finished_at, -AFTERMATH));
    }
    let same = event.pod_uid.as_deref() == Some(kill.uid.as_str())
        && event.container.as_deref() == Some(kill.container.as_str());
    let (Some(first), Some(last)) = (first.filter(|_| same), last) else {
        return false;
    };
    if event.counted.is_some() {
        // One Event counts many kills of the same pod: those between its first and its last time.
        let counted = shifted(first, -ROUNDING)..=shifted(last, ROUNDING);
        return counted.contains(&kill.finished_at);
    }
    // The Event has only the container's name: it must lie within the life of the instance that died.
    let started = kill.ended.started_at.unwrap_or(kill.finished_at);
    let life = started..=shifted(kill.finished_at, ROUNDING);
    event.container_id.is_none() && life.contains(&first)
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

    fn kill() -> StatusKill {
        StatusKill {
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
    fn an_event_about_the_same_container_is_a_report_of_it() {
        assert!(is_reported_by_agent(
            &kill(),
            &[event(Some("17db"), "09:09:59.5")]
        ));
        // A child was killed, and the container ended otherwise a while later.
        assert!(is_reported_by_agent(
            &kill(),
            &[event(Some("17db"), "09:00:01")]
        ));
        assert!(!is_reported_by_agent(
            &kill(),
            &[event(Some("99ff"), "09:09:59.5")]
        ));
        assert!(!is_reported_by_agent(&kill(), &[]));
    }

    #[test]
    fn an_event_without_an_id_must_lie_in_the_life_of_the_dead_container() {
        assert!(is_reported_by_agent(&kill(), &[event(None, "09:10:00.9")]));
        assert!(!is_reported_by_agent(&kill(), &[event(None, "08:59:59.9")]));
        assert!(!is_reported_by_agent(&kill(), &[event(None, "09:10:03")]));
        let mut sibling = event(None, "09:10:00");
        sibling.container = Some("sibling".to_owned());
        let mut replaced = event(None, "09:10:00");
        replaced.pod_uid = Some("b49d".to_owned());
        assert!(!is_reported_by_agent(&kill(), &[sibling, replaced]));
    }

    #[test]
    fn a_series_covers_the_kills_between_its_first_and_last_time() {
        for (first, last, reported) in [
            ("08:30:00", "09:10:00", true),
            ("08:30:00", "09:09:59", true),
            ("08:30:00", "09:30:00", true),
            // The agent was gone by then.
            ("08:30:00", "09:09:50", false),
            ("08:30:00", "09:05:00", false),
            // The agent did not run yet.
            ("09:11:00", "09:30:00", false),
        ] {
            let mut counting = event(Some("99ff"), first);
            counting.counted = Some(at(last));
            assert_eq!(
                is_reported_by_agent(&kill(), &[counting]),
                reported,
                "{first} {last}"
            );
        }
    }

    #[test]
    fn a_kill_long_after_the_last_reported_one_of_the_same_container_is_another() {
        assert!(!is_reported_by_agent(
            &kill(),
            &[event(Some("17db"), "08:59:59")]
        ));
        // It ended otherwise, and keeps OOMKilled from the earlier kill.
        let mut ended = kill();
        ended.ended.exit_code = 143;
        assert!(is_reported_by_agent(
            &ended,
            &[event(Some("17db"), "08:00:00")]
        ));
        let mut counting = event(Some("17db"), "08:00:00");
        counting.counted = Some(at("09:09:00"));
        assert!(is_reported_by_agent(&kill(), &[counting]));
    }
}
