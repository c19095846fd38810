//! The memory of a cgroup or of the node.

use serde::{Serialize, Serializer};

/// The memory of a cgroup or of the node. What is not known is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Path from the root of the memory controller's hierarchy; `None` for the node.
    pub cgroup: Option<String>,
    /// `None` without a limit.
    pub limit_bytes: Option<u64>,
    /// The memory charged to it at the kill.
    pub usage_bytes: Option<u64>,
    /// The most memory that was ever charged to it.
    pub peak_bytes: Option<u64>,
    /// Its memory in swap.
    pub swap_bytes: Option<u64>,
    /// `None` without a limit of swap.
    pub swap_limit_bytes: Option<u64>,
    /// The memory by kind.
    pub stat: Option<Stat>,
    /// How long its tasks waited for memory (PSI).
    pub pressure: Option<Pressure>,
}

/// Memory by kind, in bytes. The names are those of cgroup v2's `memory.stat`, except for `page_tables`. Kinds
/// overlap: `shmem` is within `file`, `slab` within `kernel`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stat {
    /// Anonymous memory, mapped.
    pub anon: Option<u64>,
    /// The page cache, tmpfs and shared memory included.
    pub file: Option<u64>,
    /// tmpfs and shared memory.
    pub shmem: Option<u64>,
    /// Files that are mapped.
    pub file_mapped: Option<u64>,
    /// Page cache that has to be written.
    pub file_dirty: Option<u64>,
    /// Page cache that is being written.
    pub file_writeback: Option<u64>,
    /// Page cache in use.
    pub active_file: Option<u64>,
    /// Page cache that is reclaimed first.
    pub inactive_file: Option<u64>,
    /// Memory that cannot be reclaimed: mlock, ramfs.
    pub unevictable: Option<u64>,
    /// All of the kernel's memory that is charged.
    pub kernel: Option<u64>,
    /// Stacks of threads.
    pub kernel_stack: Option<u64>,
    /// Page tables.
    pub page_tables: Option<u64>,
    /// Data structures of the kernel.
    pub slab: Option<u64>,
    /// Data structures that each CPU has a copy of.
    pub percpu: Option<u64>,
    /// Socket buffers.
    pub sock: Option<u64>,
}

/// Pressure stall information (PSI).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pressure {
    /// Some tasks waited.
    pub some: Stalled,
    /// All tasks that were not idle waited.
    pub full: Stalled,
}

/// The share of time in which tasks waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stalled {
    /// Over the last 10 s.
    pub avg10: Percent,
    /// Over the last 60 s.
    pub avg60: Percent,
    /// Over the last 300 s.
    pub avg300: Percent,
    /// The time since the cgroup was made, in µs.
    pub total_us: u64,
}

/// Hundredths of a percent, the kernel's precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percent(pub u32);

// === impl Percent ===

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(f64::from(self.0) / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_have_the_kernels_two_digits() {
        for (percent, text) in [(0, "0.0"), (7, "0.07"), (1234, "12.34"), (10_000, "100.0")] {
            assert_eq!(serde_json::to_string(&Percent(percent)).unwrap(), text);
        }
    }
}
