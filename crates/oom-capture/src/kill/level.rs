//! How close a cgroup is to its limit, by the kernel's page counters.

use oom_agent_ebpf::Level;

/// A cgroup is at its limit when no more than this, or no more than a 64th of the limit, is left: each CPU may
/// have charged pages ahead (the kernel's `MEMCG_CHARGE_BATCH`, 64).
pub const SLACK_PAGES: u64 = 512;

/// The limit of a cgroup in bytes; `None` where it has none.
pub fn level_limit_bytes(level: &Level, page_size: u64) -> Option<u64> {
    let unlimited = i64::MAX.unsigned_abs() / page_size.max(1);
    (level.max_pages < unlimited).then(|| level.max_pages.saturating_mul(page_size))
}

/// Whether a cgroup is at its limit.
pub fn is_full(level: &Level, page_size: u64) -> bool {
    let left = level.max_pages.saturating_sub(level.usage_pages);
    level_limit_bytes(level, page_size).is_some() && left <= SLACK_PAGES.max(level.max_pages / 64)
}
