//! Reads the memory of cgroups and of the node.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Instant;

use super::counts::LimitHit;
use super::events::LimitEvents;
use super::files::{Dir, FILE_LEN, Gaps, ReadError};
use super::hierarchy::{Hierarchy, Version};
use super::stat::{self, Table};
use crate::memory::Memory;
use crate::parse::parse_keyed;

/// Reads the memory of cgroups and of the node.
#[derive(Debug)]
pub struct MemoryReader {
    pub(super) hierarchy: Result<Hierarchy, String>,
    procfs: PathBuf,
    events: OnceLock<LimitEvents>,
}

// === impl MemoryReader ===

impl MemoryReader {
    /// Without a hierarchy its error is the reason for what cannot be read. `procfs` is where that is mounted; it has
    /// the node's memory.
    pub fn new(hierarchy: Result<Hierarchy, String>, procfs: impl Into<PathBuf>) -> Self {
        Self {
            hierarchy,
            procfs: procfs.into(),
            events: OnceLock::new(),
        }
    }

    /// Reads a file of every cgroup, so that [`read_limit_hits`](Self::read_limit_hits) works from now on. It replaces
    /// a probe of `out_of_memory`.
    pub fn start_counting_hits(&self, now_ns: u64) {
        let hierarchy = self.hierarchy.as_ref().ok();
        if let Some(events) = hierarchy.and_then(|found| LimitEvents::read_all(found, now_ns)) {
            // A second start changes nothing.
            let _started = self.events.set(events);
        }
    }

    /// Whether the limit was hit by the time of the kill, of the cgroup and each of its ancestors except the root, leaf
    /// first. Times are `CLOCK_MONOTONIC`, in ns. `None` on cgroup v1, and without
    /// [`start_counting_hits`](Self::start_counting_hits).
    pub fn read_limit_hits(
        &self,
        path: &str,
        stamp_ns: u64,
        now_ns: u64,
        deadline: Instant,
    ) -> Option<Vec<LimitHit>> {
        let (events, hierarchy) = (self.events.get()?, self.hierarchy.as_ref().ok()?);
        Some(events.read_hits(hierarchy, path, stamp_ns, now_ns, deadline))
    }

    /// Fills the fields that are `None`. The reasons for those that cannot be read by the deadline are added to
    /// `degraded`. A read that has begun can block for longer.
    pub fn fill_memory(
        &self,
        memory: &mut [Memory],
        deadline: Instant,
        degraded: &mut Vec<String>,
    ) {
        let mut buffer = [0; FILE_LEN];
        let mut unmounted = None;
        for (n, memory) in memory.iter_mut().enumerate() {
            let mut gaps = Gaps::new(n);
            let Some(path) = memory.cgroup.clone() else {
                match Dir::open(&self.procfs, deadline, &mut buffer) {
                    Ok(mut proc) => fill_node(&mut proc, memory, &mut gaps),
                    Err(error) => gaps.add_entry(&error),
                }
                gaps.append_to(degraded);
                continue;
            };
            match &self.hierarchy {
                Err(reason) => unmounted = Some(reason),
                Ok(hierarchy) => {
                    let dir = hierarchy.open_cgroup(&path);
                    match dir.map(|dir| Dir::new(dir, deadline, &mut buffer)) {
                        Ok(mut dir) => {
                            fill_cgroup(hierarchy.version(), &mut dir, memory, &mut gaps);
                        }
                        Err(error) => gaps.add_entry(&error),
                    }
                    gaps.append_to(degraded);
                }
            }
        }
        degraded.extend(unmounted.map(|reason| format!("memory: {reason}")));
    }
}

/// Memory by kind is read first, because a dying victim frees it meanwhile.
fn fill_cgroup(version: Version, dir: &mut Dir<'_>, memory: &mut Memory, gaps: &mut Gaps) {
    let v2 = version == Version::V2;
    // The root has no limits, and lacks the files that go with them.
    gaps.is_root = v2 && memory.cgroup.as_deref() == Some("/");
    let table = if v2 { Table::V2 } else { Table::V1 };
    let read = dir.read_file("memory.stat").map(|text| {
        let swap = parse_keyed(text, "total_swap").filter(|_| !v2);
        (stat::parse_kinds(text, table), swap)
    });
    let (mut stat, swap) = gaps.value_or_gap("stat", read).unzip();
    fill_counters(version, dir, memory, gaps);
    if v2 {
        // Absent without swap accounting (`swapaccount=0`, Debian's default before 6.1).
        let swap = dir.read_number("memory.swap.current");
        memory.swap_bytes = gaps.value_if_present("swap_bytes", swap);
        let limit = dir.read_limit("memory.swap.max");
        memory.swap_limit_bytes = gaps.value_if_present("swap_limit_bytes", limit).flatten();
        memory.pressure = gaps.value_or_gap("pressure", dir.read_psi("memory.pressure"));
    } else {
        memory.swap_bytes = swap.flatten();
        // This limit is of memory and swap together. Without swap accounting it is absent.
        let both = dir.read_limit("memory.memsw.limit_in_bytes");
        memory.swap_limit_bytes = gaps
            .value_if_present("swap_limit_bytes", both)
            .flatten()
            .zip(memory.limit_bytes)
            .map(|(both, limit)| both.saturating_sub(limit));
        if let Some(stat) = &mut stat {
            let kernel = dir.read_number("memory.kmem.usage_in_bytes");
            stat.kernel = gaps.value_if_present("stat.kernel", kernel);
            let sock = dir.read_number("memory.kmem.tcp.usage_in_bytes");
            stat.sock = gaps.value_if_present("stat.sock", sock);
        }
    }
    memory.stat = stat;
}

/// The node's memory: the kernel's Documentation/filesystems/proc.rst describes /proc/meminfo.
fn fill_node(proc: &mut Dir<'_>, memory: &mut Memory, gaps: &mut Gaps) {
    let read = proc
        .read_file("meminfo")
        .map(|text| stat::parse_meminfo(text, memory));
    if gaps.value_or_gap("stat", read).is_some() && memory.limit_bytes.is_none() {
        let malformed = ReadError::Malformed { name: "meminfo" };
        let _none: Option<()> = gaps.value_or_gap("limit_bytes", Err(malformed));
    }
    memory.pressure = gaps.value_or_gap("pressure", proc.read_psi("pressure/memory"));
}

/// Fills usage, limit and peak where the kernel's records lack them.
fn fill_counters(version: Version, dir: &mut Dir<'_>, memory: &mut Memory, gaps: &mut Gaps) {
    let [usage, limit, peak] = version.counter_files();
    if memory.usage_bytes.is_none() {
        memory.usage_bytes = gaps.value_or_gap("usage_bytes", dir.read_number(usage));
    }
    if memory.limit_bytes.is_none() {
        memory.limit_bytes = gaps
            .value_or_gap("limit_bytes", dir.read_limit(limit))
            .flatten();
    }
    if memory.peak_bytes.is_none() {
        memory.peak_bytes = gaps.value_or_gap("peak_bytes", dir.read_number(peak));
    }
}
