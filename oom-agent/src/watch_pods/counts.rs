//! What is counted: `oom_agent_watch_updates_total`, by `update_type`.

use crate::metrics::{Counter, Metrics};

/// What became of a container's status, or of a kill in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UpdateType {
    /// No instance of the container was OOM-killed.
    NotOomKilled,
    /// A kill before the time that is told of.
    TooOld,
    /// A kill that a status has shown before.
    SeenBefore,
    /// A kill whose Event was written.
    EventSent,
    /// A kill that the node's agent has told.
    ToldByAgent,
    /// A kill whose Event stood already: this controller's before a restart, or another replica's.
    ToldBefore,
    /// A kill whose Event could not be written.
    EventFailed,
}

/// Since the start.
#[derive(Debug)]
pub(super) struct Counts([Counter; UpdateType::ALL.len()]);

// === impl UpdateType ===

impl UpdateType {
    /// All, in the order of their declaration.
    pub(super) const ALL: [Self; 7] = [
        Self::NotOomKilled,
        Self::TooOld,
        Self::SeenBefore,
        Self::EventSent,
        Self::ToldByAgent,
        Self::ToldBefore,
        Self::EventFailed,
    ];

    /// The value of the label; the first, second and fourth are kubernetes-oom-event-generator's.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::NotOomKilled => "not_oomkilled",
            Self::TooOld => "oomkilled_termination_too_old",
            Self::SeenBefore => "oomkilled_seen_before",
            Self::EventSent => "oomkilled_event_sent",
            Self::ToldByAgent => "oomkilled_told_by_agent",
            Self::ToldBefore => "oomkilled_told_before",
            Self::EventFailed => "oomkilled_event_failed",
        }
    }
}

// === impl Counts ===

impl Counts {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self(UpdateType::ALL.map(|of| metrics.watch_update(of.label())))
    }

    /// How many so far.
    pub(super) fn get(&self, of: UpdateType) -> u64 {
        self.0.get(of as usize).map_or(0, Counter::get)
    }

    pub(super) fn add(&self, of: UpdateType, more: u64) {
        if let Some(count) = self.0.get(of as usize) {
            count.inc_by(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_a_count_and_a_label_of_its_own() {
        let metrics = Metrics::default();
        let counts = Counts::new(&metrics);
        for (n, of) in UpdateType::ALL.into_iter().enumerate() {
            counts.add(of, 1 + n as u64);
        }
        let read = UpdateType::ALL.map(|of| counts.get(of));
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
