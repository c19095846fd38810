use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::{MapData, PerCpuArray};
use oom_agent_ebpf::drops;

/// Reads what is lost between the kernel and the pipeline.
#[derive(Clone)]
pub struct Drops {
    kernel: Arc<PerCpuArray<MapData, u64>>,
    pub(super) malformed: Arc<AtomicU64>,
    pub(super) not_kept: Arc<AtomicU64>,
    /// Told once, when the programs are attached.
    pub(super) discarded: u64,
}

/// Records that never reached the pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// The ring was full.
    pub ring_full: u64,
    /// A victim could not be remembered between its mark and its end.
    pub marks_full: u64,
    /// A ring item was no record.
    pub malformed: u64,
    /// A record found no room among those that are kept until their kill is told.
    pub not_kept: u64,
    /// Rings of another version that were removed with what was in them.
    pub discarded: u64,
}

// === impl Drops ===

impl Drops {
    pub(super) fn new(kernel: PerCpuArray<MapData, u64>) -> Self {
        Self {
            kernel: Arc::new(kernel),
            malformed: Arc::default(),
            not_kept: Arc::default(),
            discarded: 0,
        }
    }

    /// Up to now. What cannot be read is zero, and logged.
    pub fn read(&self) -> Lost {
        let count = |index: u32| {
            self.kernel
                .get(&index, 0)
                .map(|cpus| cpus.iter().sum())
                .inspect_err(|error| tracing::warn!(%error, "cannot read the count of drops"))
                .unwrap_or(0)
        };
        Lost {
            ring_full: count(drops::RING_FULL),
            marks_full: count(drops::MARKS_FULL),
            malformed: self.malformed.load(Ordering::Relaxed),
            not_kept: self.not_kept.load(Ordering::Relaxed),
            discarded: self.discarded,
        }
    }
}
