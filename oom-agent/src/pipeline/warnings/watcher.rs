//! Compares sweeps with thresholds, on the sampler's thread.

use tokio::sync::mpsc::Sender;

use super::containers::SharedContainers;
use crate::metrics::WarningCounts;
use crate::warn::{ContainerCrossing, PodLookup};
use pressure::Sweep;

pub(in crate::pipeline) struct Watcher {
    pub(super) containers: SharedContainers,
    pub(super) crossings: Sender<ContainerCrossing>,
    pub(super) lookups: Sender<PodLookup>,
    pub(super) counts: WarningCounts,
}

// === impl Watcher ===

impl Watcher {
    /// Never waits: what finds no room is dropped and counted.
    pub(in crate::pipeline) fn handle_sweep(&mut self, sweep: &Sweep<'_>) {
        let mut containers = self.containers.lock();
        let outcome = containers.update(
            sweep,
            |key| self.containers.read_scores(key),
            |key| self.containers.forecast(key),
        );
        self.counts.set_at_level(containers.count_at_levels());
        drop(containers);
        let mut dropped: u64 = 0;
        for crossing in outcome.crossings {
            if let Err(error) = self.crossings.try_send(crossing) {
                self.containers.lock().retry(&error.into_inner());
                dropped += 1;
            }
        }
        for lookup in outcome.lookups {
            dropped += u64::from(self.lookups.try_send(lookup).is_err());
        }
        if dropped > 0 {
            self.counts.dropped.inc_by(dropped);
            tracing::warn!(dropped, "warnings were dropped: their queue is full");
        }
    }
}
