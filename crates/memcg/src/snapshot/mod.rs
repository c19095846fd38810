//! What the memory of a cgroup, or of the node, was made of: the memory controller's files, read
//! at once and in bounded time. The files are described in the kernel's
//! Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.

mod counts;
mod events;
mod files;
mod hierarchy;
mod holders;
mod node;
mod pressure;
mod stat;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Instant;

use crate::memory::Memory;
use events::Events;
use files::{Dir, FILE_LEN, Gaps};

pub(crate) use files::limit;
pub use hierarchy::{Hierarchy, HierarchyError, Version};
pub(crate) use pressure::{parse as psi, parse_cpu as cpu_psi};

/// Where the figures are read.
#[derive(Debug)]
pub struct Snapshots {
    hierarchy: Result<Hierarchy, String>,
    procfs: PathBuf,
    events: OnceLock<Events>,
}

/// Whether the kernel counted, by the time of a kill, that a cgroup had hit its limit: `oom` of its
/// `memory.events.local`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rose {
    /// It did.
    Yes,
    /// It did not.
    No,
    /// It did at some time, and it is not known when.
    Perhaps,
    /// It could not be read.
    Unread,
}

/// The counter of memory and swap together that a cgroup of v1 has, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwapCounter {
    /// `memory.memsw.limit_in_bytes`.
    pub limit_bytes: u64,
    /// `memory.memsw.max_usage_in_bytes`.
    pub peak_bytes: u64,
}

/// A cgroup's usage and limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Path from the hierarchy's root.
    pub cgroup: String,
    /// What is charged to it, in bytes.
    pub usage_bytes: u64,
    /// Its own limit, in bytes; `None` where it has none.
    pub limit_bytes: Option<u64>,
}

// === impl Snapshots ===

impl Snapshots {
    /// `procfs` is where that is mounted, for the node's own figures.
    /// Where there is no hierarchy, its error is told in place of what would be read in it.
    pub fn new(hierarchy: Result<Hierarchy, String>, procfs: impl Into<PathBuf>) -> Self {
        Self {
            hierarchy,
            procfs: procfs.into(),
            events: OnceLock::new(),
        }
    }

    /// From now on [`rose`](Self::rose) tells. Reads a file of every cgroup, once: for those who
    /// cannot probe `out_of_memory`.
    pub fn count_limits(&self, now_ns: u64) {
        let hierarchy = self.hierarchy.as_ref().ok();
        if let Some(events) = hierarchy.and_then(|found| Events::begin(found, now_ns)) {
            // Only the first beginning counts.
            let _begun = self.events.set(events);
        }
    }

    /// For the cgroup and each of its ancestors but the root, leaf first: whether its limit was hit
    /// by the time of the kill. Times are `CLOCK_MONOTONIC`, in ns. `None` on cgroup v1, and where
    /// nothing is counted.
    pub fn rose(
        &self,
        path: &str,
        stamp_ns: u64,
        now_ns: u64,
        deadline: Instant,
    ) -> Option<Vec<Rose>> {
        let (events, hierarchy) = (self.events.get()?, self.hierarchy.as_ref().ok()?);
        Some(events.rose(hierarchy, path, stamp_ns, now_ns, deadline))
    }

    /// Reads what is not known of each; what cannot be read, or not before `deadline`, is said in
    /// `degraded`. Blocks for as long as the kernel takes to show one file.
    pub fn take(&self, memory: &mut [Memory], deadline: Instant, degraded: &mut Vec<String>) {
        let mut buffer = [0; FILE_LEN];
        let mut unmounted = None;
        for (n, memory) in memory.iter_mut().enumerate() {
            let mut gaps = Gaps::new(n);
            let Some(path) = memory.cgroup.clone() else {
                match Dir::open(&self.procfs, deadline, &mut buffer) {
                    Ok(mut proc) => node::fill(&mut proc, memory, &mut gaps),
                    Err(unread) => gaps.all(&unread),
                }
                gaps.say(degraded);
                continue;
            };
            match &self.hierarchy {
                Err(reason) => unmounted = Some(reason),
                Ok(hierarchy) => {
                    let dir = hierarchy.cgroup(&path);
                    match dir.map(|dir| Dir::new(dir, deadline, &mut buffer)) {
                        Ok(mut dir) => fill(hierarchy.version(), &mut dir, memory, &mut gaps),
                        Err(unread) => gaps.all(&unread),
                    }
                    gaps.say(degraded);
                }
            }
        }
        degraded.extend(unmounted.map(|reason| format!("memory: {reason}")));
    }
}

/// Memory by kind first: a victim that dies gives it back meanwhile.
fn fill(version: Version, dir: &mut Dir<'_>, memory: &mut Memory, gaps: &mut Gaps) {
    match version {
        Version::V1 => fill_v1(dir, memory, gaps),
        Version::V2 => fill_v2(dir, memory, gaps),
    }
}

fn fill_v2(dir: &mut Dir<'_>, memory: &mut Memory, gaps: &mut Gaps) {
    // The root has no limits, and no figures of its own for what a limit is for.
    gaps.root = memory.cgroup.as_deref() == Some("/");
    memory.stat = gaps.take("stat", dir.read("memory.stat").map(stat::v2));
    let (limit, usage, peak) = ("memory.max", "memory.current", "memory.peak");
    numbers(dir, memory, gaps, [usage, limit, peak]);
    // Not there where swap is not accounted for (`swapaccount=0`, Debian's default before 6.1).
    let swap = dir.number("memory.swap.current");
    memory.swap_bytes = gaps.take_if_there("swap_bytes", swap);
    let swap_limit = dir.limit("memory.swap.max");
    memory.swap_limit_bytes = gaps.take_if_there("swap_limit_bytes", swap_limit).flatten();
    memory.pressure = gaps.take("pressure", pressure::read(dir, "memory.pressure"));
}

fn fill_v1(dir: &mut Dir<'_>, memory: &mut Memory, gaps: &mut Gaps) {
    let stat = gaps.take("stat", dir.read("memory.stat").map(stat::v1));
    let (mut stat, swap) = stat.unzip();
    memory.swap_bytes = swap.flatten();
    numbers(
        dir,
        memory,
        gaps,
        [
            "memory.usage_in_bytes",
            "memory.limit_in_bytes",
            "memory.max_usage_in_bytes",
        ],
    );
    // Of memory and swap together: what is left for swap. Without swap accounting there is none.
    let both = dir.limit("memory.memsw.limit_in_bytes");
    memory.swap_limit_bytes = gaps
        .take_if_there("swap_limit_bytes", both)
        .flatten()
        .zip(memory.limit_bytes)
        .map(|(both, limit)| both.saturating_sub(limit));
    if let Some(stat) = &mut stat {
        let (kernel, sock) = (
            "memory.kmem.usage_in_bytes",
            "memory.kmem.tcp.usage_in_bytes",
        );
        stat.kernel = gaps.take_if_there("stat.kernel", dir.number(kernel));
        stat.sock = gaps.take_if_there("stat.sock", dir.number(sock));
    }
    memory.stat = stat;
}

/// Usage, limit and peak, where the kernel's records did not tell them.
fn numbers(dir: &mut Dir<'_>, memory: &mut Memory, gaps: &mut Gaps, files: [&'static str; 3]) {
    let [usage, limit, peak] = files;
    if memory.usage_bytes.is_none() {
        memory.usage_bytes = gaps.take("usage_bytes", dir.number(usage));
    }
    if memory.limit_bytes.is_none() {
        memory.limit_bytes = gaps.take("limit_bytes", dir.limit(limit)).flatten();
    }
    if memory.peak_bytes.is_none() {
        memory.peak_bytes = gaps.take("peak_bytes", dir.number(peak));
    }
}

#[cfg(test)]
mod tests;
