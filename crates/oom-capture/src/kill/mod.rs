//! What the kernel decided, as its records tell it.

mod assembler;
mod autopsy;
mod environment;
mod group;
mod level;
mod victims;

#[cfg(test)]
mod group_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use assembler::{Assembler, Expect};
pub use autopsy::{arguments, path as memcg_path, text};
pub use environment::{Allow, Pattern, PatternError};
pub use level::{SLACK_PAGES, is_full, limit_of};
pub use victims::{Fate, Kill, Unlisted, Victim};

/// What the probe of `out_of_memory` saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// When it was entered; the same for all kills of one invocation.
    pub invocation_ns: u64,
    /// The path of `oom_control.memcg`; `None` when it could not be read.
    pub memcg: Option<String>,
    /// `oom_control.memcg` was null.
    pub node: bool,
    /// Of that cgroup, in pages.
    pub limit_pages: Option<u64>,
    /// `oom_control.totalpages`.
    pub total_pages: u64,
    /// `oom_control.gfp_mask`.
    pub gfp_mask: u32,
    /// `oom_control.order`.
    pub order: i32,
    /// `oom_control.constraint`.
    pub constraint: u32,
}

/// The process whose allocation set the OOM killer off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// tgid, as the host sees it.
    pub pid: u32,
    /// Name of the thread that allocated.
    pub comm: String,
}

/// A process that was killed. What is not known is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// tgid, as the host sees it.
    pub pid: u32,
    /// The kernel's name of it, at most 15 bytes.
    pub comm: Option<String>,
    /// The arguments, at most 1 KiB in all.
    pub cmdline: Option<Vec<String>>,
    /// The variables that may be told, by name; `None` where none may.
    pub environment: Option<BTreeMap<String, String>>,
    /// tgid of its parent, as the host sees it.
    pub parent_pid: Option<u32>,
    /// Its pid in its own PID namespace.
    pub namespace_pid: Option<u32>,
    /// When it was started, after the host's boot, in ns (`CLOCK_BOOTTIME`).
    pub start_boot_ns: Option<u64>,
    /// Real user id in the initial user namespace.
    pub uid: Option<u32>,
    /// −1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Resident memory at the kill.
    pub rss_bytes: Option<Rss>,
    /// Path from the root of the memory controller's hierarchy.
    pub cgroup: Option<String>,
    /// Depth of its PID namespace; 0 is the host's.
    pub namespace_level: Option<u32>,
}

/// Resident memory by kind, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rss {
    /// Anonymous memory.
    pub anon: u64,
    /// Mapped files.
    pub file: u64,
    /// Shared memory and tmpfs.
    pub shmem: u64,
}

// === impl Rss ===

impl Rss {
    /// All kinds together.
    pub fn total(self) -> u64 {
        self.anon
            .saturating_add(self.file)
            .saturating_add(self.shmem)
    }
}
