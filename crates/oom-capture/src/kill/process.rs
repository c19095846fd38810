//! A process of a kill, as the kernel had it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The process whose allocation set the OOM killer off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// tgid in the initial PID namespace.
    pub pid: u32,
    /// Name of the thread that allocated.
    pub comm: String,
}

/// A process that was killed. What is not known is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// tgid in the initial PID namespace.
    pub pid: u32,
    /// The kernel's name for it, at most 15 bytes.
    pub comm: Option<String>,
    /// The arguments, at most 1 KiB in all.
    pub cmdline: Option<Vec<String>>,
    /// The [allowed variables](crate::AllowedVariables) of its environment, by name.
    pub environment: Option<BTreeMap<String, String>>,
    /// tgid of its parent in the initial PID namespace.
    pub parent_pid: Option<u32>,
    /// Its pid in its own PID namespace.
    pub namespace_pid: Option<u32>,
    /// When it started, in ns after the host's boot (`CLOCK_BOOTTIME`).
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
    #[serde(skip)]
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

// === impl Process ===

impl Process {
    /// The fields that should be known and are not. The environment is read on request only.
    pub fn missing_fields(&self) -> impl Iterator<Item = &'static str> + use<> {
        let fields = [
            ("comm", self.comm.is_none()),
            ("parent_pid", self.parent_pid.is_none()),
            ("namespace_pid", self.namespace_pid.is_none()),
            ("start_boot_ns", self.start_boot_ns.is_none()),
            ("uid", self.uid.is_none()),
            ("oom_score_adj", self.oom_score_adj.is_none()),
            ("rss_bytes", self.rss_bytes.is_none()),
            ("cgroup", self.cgroup.is_none()),
            ("cmdline", self.cmdline.is_none()),
        ];
        let missing = fields.into_iter().filter(|(_, is_missing)| *is_missing);
        missing.map(|(field, _)| field)
    }

    /// Takes over what only another reading of the same process has.
    pub fn fill_from(&mut self, other: Self) {
        self.comm = self.comm.take().or(other.comm);
        self.cmdline = self.cmdline.take().or(other.cmdline);
        self.parent_pid = self.parent_pid.or(other.parent_pid);
        self.namespace_pid = self.namespace_pid.or(other.namespace_pid);
        self.namespace_level = self.namespace_level.or(other.namespace_level);
        self.start_boot_ns = self.start_boot_ns.or(other.start_boot_ns);
        self.uid = self.uid.or(other.uid);
        self.oom_score_adj = self.oom_score_adj.or(other.oom_score_adj);
        self.rss_bytes = self.rss_bytes.or(other.rss_bytes);
        self.cgroup = self.cgroup.take().or(other.cgroup);
    }
}

// === impl Rss ===

impl Rss {
    /// The sum of all kinds.
    pub fn total(self) -> u64 {
        self.anon
            .saturating_add(self.file)
            .saturating_add(self.shmem)
    }
}
