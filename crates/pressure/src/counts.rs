use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What the sampler did so far and has now, for metrics.
#[derive(Debug, Default)]
pub struct Counts {
    /// Sweeps over all containers.
    pub sweeps: AtomicU64,
    /// Samples of one container between sweeps.
    pub between: AtomicU64,
    /// Such samples that had to wait, as too many were due.
    pub postponed: AtomicU64,
    /// Samples that failed though the container is there.
    pub failed: AtomicU64,
    /// Times that all cgroups were walked again, as too much happened at once.
    pub rescans: AtomicU64,
    /// 1 while the thread runs.
    pub running: AtomicU64,
    /// Containers that are sampled.
    pub watched: AtomicU64,
    /// Containers with a limit that are not, for want of room.
    pub no_room: AtomicU64,
    /// Directories of cgroups that are not watched for containers.
    pub unwatched: AtomicU64,
    /// What all of that took, with what its consumers did.
    pub busy_ns: AtomicU64,
}

// === impl Counts ===

impl Counts {
    pub(crate) fn add_busy(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        add(&self.busy_ns, ns);
    }
}

pub(crate) fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

pub(crate) fn set(count: &AtomicU64, value: usize) {
    count.store(value as u64, Ordering::Relaxed);
}
