//! `oom_agent_watch_updates_total`, by `update_type`.

use crate::metrics::{Counter, Metrics};

/// How a container's status, or a kill in it, was handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UpdateType {
    /// No instance of the container was OOM-killed.
    NotOomKilled,
    /// A kill from before the lookback.
    TooOld,
    /// A kill that an earlier status has shown.
    SeenBefore,
    EventSent,
    /// A kill that the node's agent has reported.
    ReportedByAgent,
    /// A kill whose Event exists already: this controller wrote it before a restart, or another replica did.
    ReportedBefore,
    EventFailed,
}

// === impl UpdateType ===

impl UpdateType {
    /// All, in the order of their declaration.
    pub(super) const ALL: [Self; 7] = [
        Self::NotOomKilled,
        Self::TooOld,
        Self::SeenBefore,
        Self::EventSent,
        Self::ReportedByAgent,
        Self::ReportedBefore,
        Self::EventFailed,
    ];

    /// The label's value. The first, second and fourth are those of kubernetes-oom-event-generator.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::NotOomKilled => "not_oomkilled",
            Self::TooOld => "oomkilled_termination_too_old",
            Self::SeenBefore => "oomkilled_seen_before",
            Self::EventSent => "oomkilled_event_sent",
            Self::ReportedByAgent => "oomkilled_told_by_agent",
            Self::ReportedBefore => "oomkilled_told_before",
            Self::EventFailed => "oomkilled_event_failed",
        }
    }

    pub(super) fn counter(self, metrics: &Metrics) -> Counter {
        metrics.watch_update(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_a_count_and_a_label_of_its_own() {
        let metrics = Metrics::default();
        for (n, update) in UpdateType::ALL.into_iter().enumerate() {
            update.counter(&metrics).inc_by(1 + n as u64);
        }
        let read = UpdateType::ALL.map(|update| update.counter(&metrics).get());
        assert_eq!(read, [1, 2, 3, 4, 5, 6, 7]);
        let mut labels = UpdateType::ALL.map(UpdateType::label).to_vec();
        let text = metrics.encode(0).unwrap();
        let sent = "oom_agent_watch_updates_total{update_type=\"oomkilled_event_sent\"} 4\n";
        assert!(text.contains(sent), "{text}");
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), read.len());
    }
}
