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

pub(crate) use first::is_first_process;
pub(crate) use memory::memory_to_read;
pub(crate) use position::classify_scope;
pub(crate) use pressure::History;
pub(crate) use scope::{
    Limit, detect_swap_limit, infer_limit, limit_from_control, limit_from_counters,
};
pub(crate) use sentence::sentence;
pub(crate) use setting::{
    add_process, add_victim_holder, choose_setting, detect_lowered_limit, merge_victim_holder,
    rank_holders,
};

/// The version of the JSON line; `docs/incident.md` is the contract.
pub(crate) const VERSION: u32 = 1;

/// One OOM kill with all that is known of it. Serializes to the JSON line of `docs/incident.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Incident {
    pub version: u32,
    /// Stable over restarts of the agent.
    pub id: String,
    /// When the kernel killed the victim.
    #[serde(serialize_with = "serialize_nanoseconds")]
    pub time: Timestamp,
    /// Kubernetes node, else host name.
    pub node: String,
    /// Whose limit was hit, and so whose setting to change.
    pub scope: Scope,
    /// The limit that the kernel counted, in bytes.
    pub limit_bytes: Option<u64>,
    /// The cgroup that has this limit.
    pub limit_cgroup: Option<String>,
    /// What the limit is on; `None` where no limit was hit.
    #[serde(default)]
    pub limit_kind: Option<LimitKind>,
    /// The limit was set below the usage.
    #[serde(default)]
    pub limit_lowered: bool,
    /// The limit to change, where it is not the one that was hit.
    #[serde(default)]
    pub setting: Option<Setting>,
    /// The cgroups that hold most below `limit_cgroup`, or on the node.
    #[serde(default)]
    pub holders: Vec<Holder>,
    /// The arguments of `out_of_memory`, where it was probed.
    pub oom: Option<OutOfMemory>,
    /// What happened to the container.
    pub outcome: Outcome,
    /// The process whose allocation set the OOM killer off.
    pub trigger: Option<Trigger>,
    /// The killed processes; of a large group the first ones.
    pub victims: Vec<Victim>,
    /// How many processes were killed.
    #[serde(default)]
    pub victim_count: u64,
    /// The memory breakdown of the cgroup or node whose limit was hit, and of the first victim's cgroup.
    #[serde(skip_deserializing)]
    pub memory: Vec<Memory>,
    /// The usage before the kill; `None` where it was not sampled.
    #[serde(default)]
    pub before: Option<History>,
    /// `field: reason` for each field that is missing.
    pub degraded: Vec<String>,
    /// When the kernel marked the victim: `CLOCK_MONOTONIC`, in ns.
    #[serde(skip)]
    pub stamp_ns: u64,
    /// The stamps of all victims.
    #[serde(skip)]
    pub stamps: Vec<u64>,
}

// === impl Incident ===

impl Incident {
    /// One of which no more is known.
    pub(crate) fn new(id: String, time: Timestamp, node: String) -> Self {
        Self {
            version: VERSION,
            id,
            time,
            node,
            scope: Scope::Unknown,
            limit_bytes: None,
            limit_cgroup: None,
            limit_kind: None,
            limit_lowered: false,
            setting: None,
            holders: Vec::new(),
            oom: None,
            outcome: Outcome::Unknown,
            trigger: None,
            victims: Vec::new(),
            victim_count: 0,
            memory: Vec::new(),
            before: None,
            degraded: Vec::new(),
            stamp_ns: 0,
            stamps: Vec::new(),
        }
    }
}

/// Whose memory limit was hit.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Scope {
    /// A container's.
    Container,
    /// A pod's: its containers share it, and its tmpfs volumes count.
    Pod,
    /// That of a cgroup within the container: `limit_cgroup` names it.
    Nested,
    /// Another cgroup's: `limit_cgroup` names it.
    Ancestor,
    /// No limit: the node had no memory left.
    Node,
    /// No limit: the part of the node's memory that a cpuset or a memory policy allows was full.
    Confined,
    /// No limit: a sysrq requested the kill (`echo f > /proc/sysrq-trigger`).
    Sysrq,
    Unknown,
}

/// What a limit is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LimitKind {
    /// `memory.max`, `memory.limit_in_bytes`.
    #[serde(rename = "memory")]
    Memory,
    /// `memory.memsw.limit_in_bytes` of cgroup v1.
    #[serde(rename = "memory+swap")]
    MemoryAndSwap,
}

/// A limit that somebody can change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setting {
    /// The cgroup that has the limit.
    pub cgroup: String,
    pub limit_bytes: u64,
}

/// A cgroup that holds much of the memory below a limit, or of the node's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    /// Path from the root of the memory controller's hierarchy.
    pub cgroup: String,
    /// The memory charged to it; for a process in the root cgroup, its resident memory.
    pub usage_bytes: u64,
    /// Its own limit; `None` where it has none.
    pub limit_bytes: Option<u64>,
    /// The node's largest process, where it is in this cgroup.
    pub process: Option<Process>,
    /// Its container; for a pod's cgroup, the container that holds most.
    pub container: Option<Container>,
    /// Its pod.
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

/// A running process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// tgid, as the host sees it.
    pub pid: u32,
    /// The kernel's name for it.
    pub comm: String,
    /// −1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Resident memory.
    pub rss_bytes: u64,
}

/// The arguments of `out_of_memory`: the kernel's `struct oom_control`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OutOfMemory {
    /// `gfp_mask` of the allocation.
    pub gfp_mask: u32,
    /// Its order; −1 for a sysrq.
    pub order: i32,
    /// `none`, `cpuset`, `memory-policy`, `memcg` or `unknown`.
    pub constraint: String,
}

/// What happened to the victim's container.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Outcome {
    /// The container's first process was among the victims.
    ContainerDied,
    /// The first process was not a victim: the container may live on.
    ChildDied,
    /// The victim was exiting before it was chosen.
    AlreadyExiting,
    /// No victim: the kernel found no process that it may kill.
    NoKillableProcess,
    /// No victim: `oom_kill_disable` of cgroup v1 is set, and processes wait for memory.
    OomKillDisabled,
    /// There is no container, or its first process is unknown.
    Unknown,
}

/// A killed process. Missing fields are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Victim {
    /// tgid, as the host sees it.
    pub pid: u32,
    /// The kernel's name for it, at most 15 bytes.
    pub comm: Option<String>,
    /// The arguments, at most 1 KiB in all.
    pub cmdline: Option<Vec<String>>,
    /// The allowed variables, by name; `None` where none is allowed.
    pub environment: Option<BTreeMap<String, String>>,
    /// tgid of its parent, as the host sees it.
    pub parent_pid: Option<u32>,
    /// Its pid in its own PID namespace.
    pub namespace_pid: Option<u32>,
    /// Its start time after the host's boot, in ns (`CLOCK_BOOTTIME`).
    pub start_boot_ns: Option<u64>,
    /// Real user id in the initial user namespace.
    pub uid: Option<u32>,
    /// −1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Resident memory at the kill.
    pub rss_bytes: Option<Rss>,
    /// Whether it was its container's first process; `None` where there is no container, or it is unknown.
    #[serde(default)]
    pub first_process: Option<bool>,
    /// Path from the root of the memory controller's hierarchy.
    pub cgroup: Option<String>,
    /// The container of the cgroup.
    pub container: Option<Container>,
    /// The pod of the cgroup.
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
pub(crate) struct Container {
    /// 64 hex digits.
    pub id: String,
    /// Its name in the pod's spec.
    pub name: Option<String>,
    /// `containerd`, `cri-o`, `docker`, …
    pub runtime: Option<String>,
}

/// A pod as Kubernetes knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pod {
    pub namespace: Option<String>,
    pub name: Option<String>,
    /// For a static pod the kubelet's hash of its manifest, which is not the API server's uid.
    pub uid: Option<String>,
}

/// RFC 3339 in UTC, always with nine digits of the second.
pub(crate) fn serialize_nanoseconds<S: serde::Serializer>(
    time: &Timestamp,
    to: S,
) -> Result<S::Ok, S::Error> {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(9));
    to.serialize_str(&PRINTER.timestamp_to_string(time))
}

// === impl Incident ===

impl Incident {
    /// The limit to change, in bytes.
    pub(crate) fn setting_bytes(&self) -> Option<u64> {
        let setting = self.setting.as_ref();
        setting.map_or(self.limit_bytes, |setting| Some(setting.limit_bytes))
    }

    /// Whether `before` is the history of the cgroup that reached its limit, or may be: only then does its
    /// text about the limit apply.
    pub(crate) fn is_at_limit(&self) -> bool {
        let before = self.before.as_ref().map(|before| &before.cgroup);
        match self.scope {
            Scope::Container | Scope::Pod | Scope::Unknown => true,
            Scope::Nested | Scope::Ancestor => before == self.limit_cgroup.as_ref(),
            Scope::Node | Scope::Confined | Scope::Sysrq => false,
        }
    }
}
