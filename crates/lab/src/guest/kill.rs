//! A kill that is going to happen.

use super::process::Facts;

/// The kernel counts resident memory in batches, and prints it a moment after the mark.
pub(super) const SLACK: u64 = 1 << 20;

/// The node's name.
pub(super) const NODE: &str = "guest";

/// What a case knows of its kill beforehand.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExpectedKill<'a> {
    pub(super) scope: &'static str,
    pub(super) limit_bytes: Option<u64>,
    pub(super) limit_cgroup: Option<&'a str>,
    pub(super) outcome: &'static str,
    /// `None`: any process may be the one that wants a page when there is none.
    pub(super) trigger: Option<u32>,
    pub(super) victims: &'a [Facts],
}

/// The scope of a kill, and the limit that is hit: its bytes and its cgroup.
pub(super) type Limit<'a> = (&'static str, u64, &'a str);

// === impl ExpectedKill ===

impl<'a> ExpectedKill<'a> {
    /// A container dies by a limit that its own process hits.
    pub(super) fn at_limit((scope, bytes, cgroup): Limit<'a>, victims: &'a [Facts]) -> Self {
        Self {
            scope,
            limit_bytes: Some(bytes),
            limit_cgroup: Some(cgroup),
            outcome: "container-died",
            trigger: victims.first().map(|victim| victim.pid),
            victims,
        }
    }

    /// A container dies by no cgroup's limit.
    pub(super) fn without_limit(
        scope: &'static str,
        limit_bytes: Option<u64>,
        victims: &'a [Facts],
    ) -> Self {
        Self {
            scope,
            limit_bytes,
            limit_cgroup: None,
            outcome: "container-died",
            trigger: None,
            victims,
        }
    }

    /// A kill that is only looked for by its victims.
    pub(super) fn with_victims(victims: &'a [Facts]) -> Self {
        Self::without_limit("", None, victims)
    }

    /// The cgroup of its first victim.
    pub(super) fn victim_cgroup(&self) -> Option<&'a str> {
        self.victims.first()?.victim.get("cgroup")?.as_str()
    }
}
