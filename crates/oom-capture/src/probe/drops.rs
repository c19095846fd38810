use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::{MapData, PerCpuArray};
use oom_agent_ebpf::drops;

/// Counters of records that were lost on their way to the handler.
#[derive(Clone)]
pub struct DropCounters {
    kernel: Arc<PerCpuArray<MapData, u64>>,
    pub(super) malformed: Arc<AtomicU64>,
    pub(super) not_kept: Arc<AtomicU64>,
    /// Known when the programs are attached.
    pub(super) discarded: u64,
}

/// Counts of lost records since the programs were attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropCounts {
    /// Records that found the ring full.
    pub ring_full: u64,
    /// Victims that found no room in the map of marks, so they have no autopsies.
    pub marks_full: u64,
    /// Items of the ring that were no records.
    pub malformed: u64,
    /// Records that found no room in the [pinned maps](super::PinnedRecords).
    pub not_kept: u64,
    /// Pinned rings of another version that were removed unread.
    pub discarded: u64,
}

// === impl DropCounters ===

impl DropCounters {
    pub(super) fn new(kernel: PerCpuArray<MapData, u64>) -> Self {
        Self {
            kernel: Arc::new(kernel),
            malformed: Arc::default(),
            not_kept: Arc::default(),
            discarded: 0,
        }
    }

    /// Reads all counters. One that cannot be read is 0, and logged.
    pub fn read(&self) -> DropCounts {
        let count = |index: u32| {
            self.kernel
                .get(&index, 0)
                .map(|cpus| cpus.iter().sum())
                .inspect_err(|error| tracing::warn!(%error, "cannot read the count of drops"))
                .unwrap_or(0)
        };
        DropCounts {
            ring_full: count(drops::RING_FULL),
            marks_full: count(drops::MARKS_FULL),
            malformed: self.malformed.load(Ordering::Relaxed),
            not_kept: self.not_kept.load(Ordering::Relaxed),
            discarded: self.discarded,
        }
    }
}
