//! What was seen and what was lost, told when the agent ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::incident::Incident;
use crate::probe::Lost;
use crate::sinks::Counts;

#[derive(Default)]
pub(super) struct Summary {
    incidents: u64,
    unwitnessed: u64,
    unattributed: u64,
    pub(super) unwritten: u64,
    pub(super) untold: u64,
    pub(super) sinks: Vec<(String, Arc<Counts>)>,
}

// === impl Summary ===

impl Summary {
    pub(super) fn count(&mut self, incident: &Incident) {
        let victim = incident.victims.first();
        self.incidents += 1;
        self.unwitnessed += u64::from(incident.trigger.is_none());
        self.unattributed += u64::from(victim.is_none_or(|victim| victim.cgroup.is_none()));
    }

    pub(super) fn log(&self, lost: Lost) {
        tracing::info!(
            incidents = self.incidents,
            without_mark = self.unwitnessed,
            without_cgroup = self.unattributed,
            not_written = self.unwritten,
            lost = self.untold,
            ring_full = lost.ring_full,
            marks_full = lost.marks_full,
            malformed = lost.malformed,
            "summary"
        );
        for (sink, counts) in &self.sinks {
            tracing::info!(
                sink,
                delivered = counts.delivered.load(Ordering::Relaxed),
                overflowed = counts.overflowed.load(Ordering::Relaxed),
                failed = counts.failed.load(Ordering::Relaxed),
                unfinished = counts.pending(),
                "summary of a sink"
            );
        }
    }
}
