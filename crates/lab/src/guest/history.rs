//! What an incident should show of the minute before a kill.

use anyhow::Result;
use serde_json::{Value, json};

use super::kill::{ExpectedKill, SLACK};
use super::memory::read_limit;
use crate::expect::{between, one_of, samples, whole};

/// `before`: of the nearest container with a limit of its own, upwards from the limit's cgroup
/// and then from the victim's. A process has been in it, for a moment at least, before it ate.
pub(super) fn expected_before(kill: &ExpectedKill<'_>) -> Result<Value> {
    let is_container = |path: &&str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        // A bare id or, by systemd, `cri-containerd-ID.scope`.
        name.trim_end_matches(".scope")
            .rsplit('-')
            .next()
            .is_some_and(|id| id.len() == 64)
    };
    let all = kill.limit_cgroup.into_iter().chain(kill.victim_cgroup());
    for path in all.filter(is_container) {
        let Some(limit) = lowest_limit(path)? else {
            continue;
        };
        let full = kill.limit_cgroup == Some(path);
        let least = if full {
            limit.saturating_sub(2 * SLACK)
        } else {
            1
        };
        return Ok(json!({
            "cgroup": path,
            "limit_bytes": limit,
            "samples": samples(2, least, limit.saturating_add(SLACK)),
            // Samples of one millisecond, or a last one that is no rise, have no slope.
            "slope_bytes_per_second": one_of(&[Value::Null, whole()]),
            "half_to_limit_ms": one_of(&[Value::Null, between(0, 60_000)]),
            "verdict": one_of(&["leak", "burst", "at-the-limit", "unknown"].map(Value::from)),
        }));
    }
    Ok(Value::Null)
}

/// The lowest limit on the path up, if it has one itself.
fn lowest_limit(path: &str) -> Result<Option<u64>> {
    let limit = |path: &str| read_limit(path, "memory.max");
    let Some(mut lowest) = limit(path)? else {
        return Ok(None);
    };
    let mut above = path;
    while let Some((parent, _)) = above.rsplit_once('/').filter(|(up, _)| !up.is_empty()) {
        lowest = limit(parent)?.map_or(lowest, |limit| limit.min(lowest));
        above = parent;
    }
    Ok(Some(lowest))
}
