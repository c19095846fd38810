//! How near a cgroup stands to its limit, by the kernel's page counters.

use oom_agent_ebpf::Level;

/// Pages that a CPU may have charged ahead, `MEMCG_CHARGE_BATCH` of the kernel, for a few of them: a
/// cgroup stands at its limit when less than this, or than a 64th of it, is left.
pub const SLACK_PAGES: u64 = 512;

/// Its limit in bytes; `None` where it has none.
pub fn limit_of(level: &Level, page_size: u64) -> Option<u64> {
    let unlimited = i64::MAX.unsigned_abs() / page_size.max(1);
    (level.max_pages < unlimited).then(|| level.max_pages.saturating_mul(page_size))
}

/// Whether it stands at its limit.
pub fn is_full(level: &Level, page_size: u64) -> bool {
    let left = level.max_pages.saturating_sub(level.usage_pages);
    limit_of(level, page_size).is_some() && left <= SLACK_PAGES.max(level.max_pages / 64)
}
