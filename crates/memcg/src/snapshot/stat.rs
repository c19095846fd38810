//! Memory by kind, with the same names whatever file it is from. Pure.

use crate::memory::{Memory, Stat};

/// The file that kinds are read of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Table {
    /// `memory.stat` of cgroup v2.
    V2,
    /// `memory.stat` of cgroup v1: the numbers that include the descendants', as all of v2 do. Its `rss` and `cache` are
    /// the kernel's `NR_ANON_MAPPED` and `NR_FILE_PAGES`, as v2's `anon` and `file` are.
    V1,
    /// /proc/meminfo.
    Node,
}

type Field = fn(&mut Stat) -> &mut Option<u64>;

/// Each kind with its names in the files of [`Table`]; empty where a file lacks it.
const KINDS: [(Field, [&str; 3]); 15] = [
    (|s| &mut s.anon, ["anon", "total_rss", "AnonPages"]),
    (|s| &mut s.file, ["file", "total_cache", ""]),
    (|s| &mut s.shmem, ["shmem", "total_shmem", "Shmem"]),
    (
        |s| &mut s.file_mapped,
        ["file_mapped", "total_mapped_file", "Mapped"],
    ),
    (
        |s| &mut s.file_dirty,
        ["file_dirty", "total_dirty", "Dirty"],
    ),
    (
        |s| &mut s.file_writeback,
        ["file_writeback", "total_writeback", "Writeback"],
    ),
    (
        |s| &mut s.active_file,
        ["active_file", "total_active_file", "Active(file)"],
    ),
    (
        |s| &mut s.inactive_file,
        ["inactive_file", "total_inactive_file", "Inactive(file)"],
    ),
    (
        |s| &mut s.unevictable,
        ["unevictable", "total_unevictable", "Unevictable"],
    ),
    // From 5.18 on.
    (|s| &mut s.kernel, ["kernel", "", ""]),
    (|s| &mut s.kernel_stack, ["kernel_stack", "", "KernelStack"]),
    // From 5.11 on.
    (|s| &mut s.page_tables, ["pagetables", "", "PageTables"]),
    (|s| &mut s.slab, ["slab", "", "Slab"]),
    (|s| &mut s.percpu, ["percpu", "", "Percpu"]),
    (|s| &mut s.sock, ["sock", "", ""]),
];

/// Parses `memory.stat`.
pub(super) fn parse_kinds(text: &str, table: Table) -> Stat {
    let lines = text.lines().filter_map(|line| {
        let (key, number) = line.split_once(' ')?;
        Some((key, number.parse().ok()?))
    });
    collect_kinds(lines, table)
}

/// Fills what /proc/meminfo has.
pub(super) fn parse_meminfo(text: &str, memory: &mut Memory) {
    let lines = || {
        text.lines().filter_map(|line| {
            let (key, number) = line.split_once(':')?;
            let kib = number.trim_ascii().strip_suffix("kB")?.trim_ascii_end();
            Some((key, kib.parse::<u64>().ok()?.checked_mul(1024)?))
        })
    };
    let bytes = |name: &str| Some(lines().find(|(key, _)| *key == name)?.1);
    let less = |all: Option<u64>, free| Some(all?.saturating_sub(bytes(free)?));
    memory.limit_bytes = bytes("MemTotal");
    memory.usage_bytes = less(memory.limit_bytes, "MemAvailable");
    memory.swap_limit_bytes = bytes("SwapTotal");
    memory.swap_bytes = less(memory.swap_limit_bytes, "SwapFree");
    let cached = bytes("Cached").zip(bytes("Buffers"));
    memory.stat = Some(Stat {
        file: cached.map(|(cached, buffers)| cached.saturating_add(buffers)),
        ..collect_kinds(lines(), Table::Node)
    });
}

fn collect_kinds<'a>(lines: impl Iterator<Item = (&'a str, u64)>, table: Table) -> Stat {
    let mut stat = Stat::default();
    for (key, bytes) in lines {
        let is_named = |names: &[&str; 3]| names.get(table as usize) == Some(&key);
        if let Some((field, _)) = KINDS.iter().find(|(_, names)| is_named(names)) {
            *field(&mut stat) = Some(bytes);
        }
    }
    stat
}
