//! What an incident is, and how records become one. Pure: time is an argument.

mod first;
mod memory;
mod position;
mod scope;
mod sentence;
mod setting;

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use memcg::{Memory, Usage};
use oom_capture::{Rss, Trigger};
use serde::{Deserialize, Serialize};

pub use first::is_first_process;
pub use memory::memory_of_interest;
pub use position::position;
pub use pressure::{GrowthPattern, History};
pub use scope::{Limit, counted, inferred, look_for_swap_limit, seen};
pub use sentence::sentence;
pub use setting::{
    add_own, add_process, choose_setting, detect_lowered_limit, merge_own, rank_holders,
};

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
    /// Whose limit it was, and so whose setting.
    pub scope: Scope,
    /// The limit that the kernel counted, in bytes.
    pub limit_bytes: Option<u64>,
    /// The cgroup that has it.
    pub limit_cgroup: Option<String>,
    /// What that limit is of; `None` where there was none.
    #[serde(default)]
    pub limit_kind: Option<LimitKind>,
    /// It was set below what was in use.
    #[serde(default)]
    pub limit_lowered: bool,
    /// The limit to change, where that is not the one that the kernel counted.
    #[serde(default)]
    pub setting: Option<Setting>,
    /// Who holds most below `limit_cgroup`, or on the node.
    #[serde(default)]
    pub holders: Vec<Holder>,
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
    pub before: Option<History>,
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
    /// That of a cgroup within the container: `limit_cgroup` names it.
    Nested,
    /// Another cgroup's: `limit_cgroup` names it.
    Ancestor,
    /// Nobody's: the node had no memory left.
    Node,
    /// Nobody's: the part of the node's memory that a cpuset or a memory policy allows was full.
    Confined,
    /// Nobody's: somebody asked for a kill (`echo f > /proc/sysrq-trigger`).
    Sysrq,
    /// It was not determined.
    Unknown,
}

/// What a limit is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LimitKind {
    /// `memory.max`, `memory.limit_in_bytes`.
    #[serde(rename = "memory")]
    Memory,
    /// `memory.memsw.limit_in_bytes` of cgroup v1.
    #[serde(rename = "memory+swap")]
    MemoryAndSwap,
}

/// A limit that somebody can change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The cgroup that has it.
    pub cgroup: String,
    /// In bytes.
    pub limit_bytes: u64,
}

/// A cgroup that holds much of what a limit, or the node, has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Path from the root of the memory controller's hierarchy.
    pub cgroup: String,
    /// What is charged to it; of a process in the root cgroup, its resident memory.
    pub usage_bytes: u64,
    /// Its own limit; `None` where it has none.
    pub limit_bytes: Option<u64>,
    /// The node's largest process, where it is in it.
    pub process: Option<Process>,
    /// The container that it is or, of a pod, the one that holds most of it.
    pub container: Option<Container>,
    /// The pod that it is, or is in.
    pub pod: Option<Pod>,
}

impl From<Usage> for Holder {
    fn from(usage: Usage) -> Self {
        Self {
            cgroup: usage.cgroup,
            usage_bytes: usage.usage_bytes,
            limit_bytes: usage.limit_bytes,
            ..Self::default()
        }
    }
}

/// A process that lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// tgid, as the host sees it.
    pub pid: u32,
    /// The kernel's name of it.
    pub comm: String,
    /// −1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Its resident memory.
    pub rss_bytes: u64,
}

/// What `out_of_memory` was given: the kernel's `struct oom_control`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutOfMemory {
    /// `gfp_mask` of the allocation.
    pub gfp_mask: u32,
    /// Its order; −1 for a sysrq.
    pub order: i32,
    /// `none`, `cpuset`, `memory-policy`, `memcg` or `unknown`.
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
}

impl From<oom_capture::Process> for Victim {
    fn from(process: oom_capture::Process) -> Self {
        Self {
            pid: process.pid,
            comm: process.comm,
            cmdline: process.cmdline,
            environment: process.environment,
            parent_pid: process.parent_pid,
            namespace_pid: process.namespace_pid,
            start_boot_ns: process.start_boot_ns,
            uid: process.uid,
            oom_score_adj: process.oom_score_adj,
            rss_bytes: process.rss_bytes,
            cgroup: process.cgroup,
            first_process: None,
            container: None,
            pod: None,
        }
    }
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

// === impl Incident ===

impl Incident {
    /// The limit to change, in bytes.
    pub fn setting_bytes(&self) -> Option<u64> {
        let setting = self.setting.as_ref();
        setting.map_or(self.limit_bytes, |setting| Some(setting.limit_bytes))
    }

    /// Whether `before` is of the cgroup that reached its limit, or may be: what it says of a limit is
    /// said of that one.
    pub fn is_at_limit(&self) -> bool {
        let before = self.before.as_ref().map(|before| &before.cgroup);
        match self.scope {
            Scope::Container | Scope::Pod | Scope::Unknown => true,
            Scope::Nested | Scope::Ancestor => before == self.limit_cgroup.as_ref(),
            Scope::Node | Scope::Confined | Scope::Sysrq => false,
        }
    }
}
