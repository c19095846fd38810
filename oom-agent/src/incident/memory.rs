//! What the memory of a cgroup, or of the node, was made of.

use serde::{Serialize, Serializer};

use super::scope::{level_of, limit_of, victim_path};
use super::{Killed, Limit, Scope};

/// One cgroup's memory, or the node's. What is not known is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Path from the root of the memory controller's hierarchy; `None` for the node.
    pub cgroup: Option<String>,
    /// Its limit; `None` where it has none.
    pub limit_bytes: Option<u64>,
    /// What was charged to it at the kill.
    pub usage_bytes: Option<u64>,
    /// The most that ever was.
    pub peak_bytes: Option<u64>,
    /// What it had in swap.
    pub swap_bytes: Option<u64>,
    /// Its limit of that; `None` where it has none.
    pub swap_limit_bytes: Option<u64>,
    /// The memory by kind.
    pub stat: Option<Stat>,
    /// How much its tasks waited for memory (PSI).
    pub pressure: Option<Pressure>,
}

/// Memory by kind, in bytes: the words of cgroup v2's `memory.stat`, but for `page_tables`. Kinds
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
    /// Cache that is to be written.
    pub file_dirty: Option<u64>,
    /// Cache that is being written.
    pub file_writeback: Option<u64>,
    /// Cache in use.
    pub active_file: Option<u64>,
    /// Cache that could be dropped first.
    pub inactive_file: Option<u64>,
    /// What cannot be reclaimed: mlock, ramfs.
    pub unevictable: Option<u64>,
    /// All of the kernel's own that is charged.
    pub kernel: Option<u64>,
    /// Stacks of threads.
    pub kernel_stack: Option<u64>,
    /// Page tables.
    pub page_tables: Option<u64>,
    /// The kernel's objects.
    pub slab: Option<u64>,
    /// Those that each CPU has for itself.
    pub percpu: Option<u64>,
    /// Buffers of sockets.
    pub sock: Option<u64>,
}

/// Pressure stall information (PSI).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Pressure {
    /// Some task waited.
    pub some: Stalled,
    /// All tasks that wanted to run did.
    pub full: Stalled,
}

/// The share of time that was waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stalled {
    /// Over the last 10 s.
    pub avg10: Percent,
    /// Over the last 60 s.
    pub avg60: Percent,
    /// Over the last 300 s.
    pub avg300: Percent,
    /// Ever, in µs.
    pub total_us: u64,
}

/// Hundredths of a percent, as precise as the kernel tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percent(pub u32);

/// Whose memory is of interest: that of the cgroup or node whose limit was hit, and the first
/// victim's. Holds what the kernel's records tell of them, which is of the very moment.
pub fn memory_of_interest(limit: &Limit, killed: &[Killed], page_size: u64) -> Vec<Memory> {
    let victim = victim_path(killed);
    let mut of_interest = Vec::new();
    if limit.scope == Scope::Node {
        of_interest.push(Memory::default());
    }
    of_interest.extend(
        limit
            .cgroup
            .as_deref()
            .map(|path| at_the_kill(path, killed, page_size)),
    );
    if let Some(path) = victim
        && limit.cgroup.as_deref() != Some(path)
    {
        of_interest.push(at_the_kill(path, killed, page_size));
    }
    of_interest
}

fn at_the_kill(path: &str, killed: &[Killed], page_size: u64) -> Memory {
    let level = level_of(killed, path);
    let bytes = |pages: u64| pages.saturating_mul(page_size);
    Memory {
        cgroup: Some(path.to_owned()),
        usage_bytes: level.map(|level| bytes(level.usage_pages)),
        limit_bytes: level.and_then(|level| limit_of(&level, page_size)),
        // Of a kernel that tells none it is 0, which no cgroup's is once it has been in use.
        peak_bytes: level
            .filter(|level| level.peak_pages > 0)
            .map(|level| bytes(level.peak_pages)),
        ..Memory::default()
    }
}

// === impl Percent ===

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(f64::from(self.0) / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use oom_agent_ebpf::Level;

    use super::*;
    use crate::incident::Victim;

    fn limit(scope: Scope, cgroup: Option<&str>) -> Limit {
        Limit {
            cgroup: cgroup.map(str::to_owned),
            ..Limit::none(scope)
        }
    }

    fn killed(cgroup: Option<&str>) -> Killed {
        let level = |usage_pages, max_pages, peak_pages| Level {
            usage_pages,
            max_pages,
            peak_pages,
            oom_group: 0,
        };
        Killed {
            victim: Victim {
                cgroup: cgroup.map(str::to_owned),
                ..Victim::default()
            },
            levels: vec![
                level(10, 20, 15),
                level(30, 40, 0),
                level(50, i64::MAX.unsigned_abs() / 4096, 60),
            ],
            ..Killed::default()
        }
    }

    fn check(limit: &Limit, killed: &[Killed], says: &[(Option<&str>, [Option<u64>; 3])]) {
        let told: Vec<_> = memory_of_interest(limit, killed, 4096)
            .into_iter()
            .map(|memory| {
                let figures = [memory.usage_bytes, memory.limit_bytes, memory.peak_bytes];
                (memory.cgroup, figures)
            })
            .collect();
        let expected: Vec<_> = says
            .iter()
            .map(|(path, pages)| {
                let bytes = pages.map(|pages| pages.map(|pages| pages * 4096));
                (path.map(str::to_owned), bytes)
            })
            .collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn the_limits_cgroup_comes_first_and_the_victims_only_once() {
        let victim = [killed(Some("/pod/c"))];
        let own = (Some("/pod/c"), [Some(10), Some(20), Some(15)]);
        check(&limit(Scope::Container, Some("/pod/c")), &victim, &[own]);
        check(
            &limit(Scope::Pod, Some("/pod")),
            &victim,
            &[(Some("/pod"), [Some(30), Some(40), None]), own],
        );
        check(
            &limit(Scope::Ancestor, Some("/")),
            &victim,
            &[(Some("/"), [Some(50), None, Some(60)]), own],
        );
        check(
            &limit(Scope::Node, None),
            &victim,
            &[(None, [None; 3]), own],
        );
        check(&limit(Scope::Sysrq, None), &victim, &[own]);
    }

    #[test]
    fn what_no_record_tells_is_still_to_be_read() {
        check(&limit(Scope::Unknown, None), &[killed(None)], &[]);
        check(
            &limit(Scope::Ancestor, Some("/elsewhere")),
            &[killed(Some("/pod/c"))],
            &[
                (Some("/elsewhere"), [None; 3]),
                (Some("/pod/c"), [Some(10), Some(20), Some(15)]),
            ],
        );
    }

    #[test]
    fn percents_have_the_kernels_two_digits() {
        for (percent, text) in [(0, "0.0"), (7, "0.07"), (1234, "12.34"), (10_000, "100.0")] {
            assert_eq!(serde_json::to_string(&Percent(percent)).unwrap(), text);
        }
    }
}
