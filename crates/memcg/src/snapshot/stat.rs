//! `memory.stat`, with the same names for both versions. Pure.

use crate::memory::Stat;

pub(super) fn parse_v2(text: &str) -> Stat {
    let mut stat = Stat::default();
    for (key, bytes) in parse_lines(text) {
        let field = match key {
            "anon" => &mut stat.anon,
            "file" => &mut stat.file,
            "shmem" => &mut stat.shmem,
            "file_mapped" => &mut stat.file_mapped,
            "file_dirty" => &mut stat.file_dirty,
            "file_writeback" => &mut stat.file_writeback,
            "active_file" => &mut stat.active_file,
            "inactive_file" => &mut stat.inactive_file,
            "unevictable" => &mut stat.unevictable,
            // From 5.18 on.
            "kernel" => &mut stat.kernel,
            "kernel_stack" => &mut stat.kernel_stack,
            // From 5.11 on.
            "pagetables" => &mut stat.page_tables,
            "slab" => &mut stat.slab,
            "percpu" => &mut stat.percpu,
            "sock" => &mut stat.sock,
            _ => continue,
        };
        *field = Some(bytes);
    }
    stat
}

/// Parses the numbers that include the descendants', as all of v2 do, and the one of swap. v1's `rss` and `cache` are
/// the kernel's `NR_ANON_MAPPED` and `NR_FILE_PAGES`, as v2's `anon` and `file` are.
pub(super) fn parse_v1(text: &str) -> (Stat, Option<u64>) {
    let (mut stat, mut swap) = (Stat::default(), None);
    for (key, bytes) in parse_lines(text) {
        let field = match key {
            "total_rss" => &mut stat.anon,
            "total_cache" => &mut stat.file,
            "total_shmem" => &mut stat.shmem,
            "total_mapped_file" => &mut stat.file_mapped,
            "total_dirty" => &mut stat.file_dirty,
            "total_writeback" => &mut stat.file_writeback,
            "total_active_file" => &mut stat.active_file,
            "total_inactive_file" => &mut stat.inactive_file,
            "total_unevictable" => &mut stat.unevictable,
            "total_swap" => &mut swap,
            _ => continue,
        };
        *field = Some(bytes);
    }
    (stat, swap)
}

fn parse_lines(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, number) = line.split_once(' ')?;
        Some((key, number.parse().ok()?))
    })
}
