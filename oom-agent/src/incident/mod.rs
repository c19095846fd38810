//! What an incident is, and how records become one. Pure: time is an argument.

mod assembler;
mod autopsy;
mod before;
mod environment;
mod first;
mod found;
mod group;
mod memory;
mod scope;
mod sentence;

#[cfg(test)]
mod group_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde::{Deserialize, Serialize};

pub use assembler::{Assembler, Expect};
pub use autopsy::arguments;
pub(crate) use autopsy::{path as memcg_path, text};
pub(crate) use before::is_near;
pub use before::{Before, Growth, SAMPLES};
pub use environment::{Allow, Pattern, PatternError};
pub use first::is_first_process;
pub use found::{Fate, Found, Killed};
pub use memory::{Memory, Percent, Pressure, Stalled, Stat, memory_of_interest};
pub use scope::{Control, Limit, Rose, counted, inferred, seen};
pub use sentence::sentence;

/// The version of the JSON line; `docs/incident.md` is the contract.
pub const VERSION: u32 = 1;

/// One OOM kill, told whole. Serializes to the JSON line of `docs/incident.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// [`VERSION`].
    pub version: u32,
    /// Stable over restarts of the agent.
    pub id: String,
    /// When the kernel killed the victim.
    #[serde(serialize_with = "nanoseconds")]
    pub time: Timestamp,
    /// Kubernetes node, else host name.
    pub node: String,
    /// Whose limit it was.
    pub scope: Scope,
    /// That limit, in bytes.
    pub limit_bytes: Option<u64>,
    /// The cgroup that has it.
    pub limit_cgroup: Option<String>,
    /// What the OOM killer was asked for, where it was seen.
    pub oom: Option<OutOfMemory>,
    /// What became of the container.
    pub outcome: Outcome,
    /// Whose allocation set the OOM killer off.
    pub trigger: Option<Trigger>,
    /// Who was killed; of many the first ones.
    pub victims: Vec<Victim>,
    /// How many were.
    #[serde(default)]
    pub victim_count: u64,
    /// What memory was made of: of the cgroup or node whose limit it was, and of the first victim's cgroup.
    #[serde(skip_deserializing)]
    pub memory: Vec<Memory>,
    /// How the memory came to the kill; `None` where nobody looked.
    #[serde(default)]
    pub before: Option<Before>,
    /// `field: reason` for each thing that should be known and is not.
    pub degraded: Vec<String>,
    /// The kernel's stamp of the mark: `CLOCK_MONOTONIC`, in ns.
    #[serde(skip)]
    pub stamp_ns: u64,
    /// The stamps of all its victims.
    #[serde(skip)]
    pub stamps: Vec<u64>,
}

/// Whose memory limit was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// A container's.
    Container,
    /// A pod's: all its containers share it, and its tmpfs volumes count.
    Pod,
    /// Another cgroup's: `limit_cgroup` names it.
    Ancestor,
    /// Nobody's: the node had no memory left.
    Node,
    /// Nobody's: somebody asked for a kill (`echo f > /proc/sysrq-trigger`).
    Sysrq,
    /// It was not determined.
    Unknown,
}

/// What `out_of_memory` was given: the kernel's `struct oom_control`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutOfMemory {
    /// `gfp_mask` of the allocation.
    pub gfp_mask: u32,
    /// Its order; −1 for a sysrq.
    pub order: i32,
    /// `none`, `cpuset`, `memory-policy` or `memcg`.
    pub constraint: String,
}

/// What became of the victim's container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The container's first process was among the victims.
    ContainerDied,
    /// It was not: the container may live on.
    ChildDied,
    /// The victim was on its way out before it was chosen.
    AlreadyExiting,
    /// There is no victim: the kernel found no process that it may kill.
    NoKillableProcess,
    /// There is no victim: `oom_kill_disable` of cgroup v1 is set, and processes wait for memory.
    OomKillDisabled,
    /// It cannot be told, or there is no container.
    Unknown,
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Victim {
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
    /// Whether it was its container's first process; `None` where it is in none, or it cannot be told.
    #[serde(default)]
    pub first_process: Option<bool>,
    /// Path from the root of the memory controller's hierarchy.
    pub cgroup: Option<String>,
    /// The container, where the cgroup is one's.
    pub container: Option<Container>,
    /// The pod, where the cgroup is one's.
    pub pod: Option<Pod>,
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

/// A container as its runtime knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// 64 hex digits.
    pub id: String,
    /// Its name in the pod's spec.
    pub name: Option<String>,
    /// `containerd`, `cri-o`, `docker`, …
    pub runtime: Option<String>,
}

/// A pod as Kubernetes knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its namespace.
    pub namespace: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Its uid; for a static pod the kubelet's hash of its manifest, which is not the API server's uid.
    pub uid: Option<String>,
}

/// RFC 3339 in UTC, always with nine digits of the second.
pub(crate) fn nanoseconds<S: serde::Serializer>(
    time: &Timestamp,
    to: S,
) -> Result<S::Ok, S::Error> {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(9));
    to.serialize_str(&PRINTER.timestamp_to_string(time))
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
