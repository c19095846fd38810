//! The node's memory: /proc/meminfo and /proc/pressure/memory.

use super::files::{Dir, Gaps, ReadError};
use super::pressure;
use crate::memory::{Memory, Stat};

/// The kernel's Documentation/filesystems/proc.rst describes the files.
pub(super) fn fill_node(proc: &mut Dir<'_>, memory: &mut Memory, gaps: &mut Gaps) {
    let read = proc
        .read_file("meminfo")
        .map(|text| parse_meminfo(text, memory));
    if gaps.value_or_gap("stat", read).is_some() && memory.limit_bytes.is_none() {
        let malformed = ReadError::Malformed { name: "meminfo" };
        let _none: Option<()> = gaps.value_or_gap("limit_bytes", Err(malformed));
    }
    memory.pressure = gaps.value_or_gap("pressure", pressure::read_psi(proc, "pressure/memory"));
}

fn parse_meminfo(text: &str, memory: &mut Memory) {
    let bytes = |key: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
        let number = rest.strip_prefix(':')?.trim_ascii();
        let kib: u64 = number.strip_suffix("kB")?.trim_ascii_end().parse().ok()?;
        kib.checked_mul(1024)
    };
    memory.limit_bytes = bytes("MemTotal");
    memory.usage_bytes = memory
        .limit_bytes
        .zip(bytes("MemAvailable"))
        .map(|(total, available)| total.saturating_sub(available));
    memory.swap_limit_bytes = bytes("SwapTotal");
    memory.swap_bytes = memory
        .swap_limit_bytes
        .zip(bytes("SwapFree"))
        .map(|(total, free)| total.saturating_sub(free));
    memory.stat = Some(Stat {
        anon: bytes("AnonPages"),
        file: bytes("Cached")
            .zip(bytes("Buffers"))
            .map(|(cached, buffers)| cached.saturating_add(buffers)),
        shmem: bytes("Shmem"),
        file_mapped: bytes("Mapped"),
        file_dirty: bytes("Dirty"),
        file_writeback: bytes("Writeback"),
        active_file: bytes("Active(file)"),
        inactive_file: bytes("Inactive(file)"),
        unevictable: bytes("Unevictable"),
        kernel: None,
        kernel_stack: bytes("KernelStack"),
        page_tables: bytes("PageTables"),
        slab: bytes("Slab"),
        percpu: bytes("Percpu"),
        sock: None,
    });
}
