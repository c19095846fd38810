//! What an incident is, and how records become one. Pure: time is an argument.

mod first;
mod memory;
mod position;
mod scope;
mod sentence;
mod setting;

use std::ops::{Deref, DerefMut};

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use memcg::{Memory, Usage, is_within};
use oom_capture::Trigger;
use serde::{Deserialize, Serialize};
use service::escape;

pub(crate) use first::is_first_process;
pub(crate) use memory::memory_to_read;
pub(crate) use position::classify_scope;
pub(crate) use pressure::History;
pub(crate) use scope::{
    detect_swap_limit, infer_limit, limit_from_control, limit_from_counters, victim_path,
};
pub(crate) use sentence::sentence;
pub(crate) use setting::{
    add_process, add_victim_holder, choose_setting, detect_lowered_limit, merge_victim_holder,
    rank_holders,
};

/// The version of the JSON line; `docs/incident.md` is the contract.
pub(crate) const VERSION: u32 = 1;

/// One OOM kill with all that is known of it. Serializes to the JSON line of `docs/incident.md`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    pub(crate) fn new(id: String, time: Timestamp, node: String) -> Self {
        Self {
            version: VERSION,
            id,
            time,
            node,
            ..Self::default()
        }
    }

    /// One at the memory limit of that cgroup, of which no more is known. `victim` is the path of its cgroup.
    pub(crate) fn at_limit_of(cgroup: &str, victim: Option<&str>) -> Self {
        Self {
            scope: classify_scope(cgroup, victim),
            limit_cgroup: Some(cgroup.to_owned()),
            limit_kind: Some(LimitKind::Memory),
            ..Self::default()
        }
    }

    /// The value of a field that should be known. One that is missing has its reason noted, and one that is found
    /// loses the reason that it had.
    pub(crate) fn record<T>(&mut self, field: &str, found: Result<T, &str>) -> Option<T> {
        self.clear_reason(field);
        found.map_err(|reason| self.note(field, reason)).ok()
    }

    /// Notes why a field is missing, or known only in part, in place of an earlier reason.
    pub(crate) fn note(&mut self, field: &str, reason: &str) {
        self.clear_reason(field);
        self.degraded.push(format!("{field}: {reason}"));
    }

    fn clear_reason(&mut self, field: &str) {
        let is_of_field = |entry: &String| {
            let rest = entry.strip_prefix(field);
            rest.is_some_and(|rest| rest.starts_with(": "))
        };
        self.degraded.retain(|entry| !is_of_field(entry));
    }

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

    /// Whether a process in that cgroup is charged to the limit.
    pub(crate) fn limit_holds(&self, cgroup: &str) -> bool {
        let limit = self.limit_cgroup.as_deref();
        limit.is_some_and(|limit| is_within(cgroup, limit))
    }
}

/// Whose memory limit was hit.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    strum::IntoStaticStr,
    Serialize,
    Deserialize,
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
    #[default]
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

/// What happened to the victim's container; the most severe comes first.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    strum::IntoStaticStr,
    Serialize,
    Deserialize,
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
    #[default]
    Unknown,
}

/// A killed process, with its container and pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Victim {
    #[serde(flatten)]
    pub process: oom_capture::Process,
    /// Whether it was its container's first process; `None` where there is no container, or it is unknown.
    #[serde(default)]
    pub first_process: Option<bool>,
    /// The container of the cgroup.
    pub container: Option<Container>,
    /// The pod of the cgroup.
    pub pod: Option<Pod>,
}

// What the kernel has of a victim is read as the victim's own everywhere.
impl Deref for Victim {
    type Target = oom_capture::Process;

    fn deref(&self) -> &Self::Target {
        &self.process
    }
}

impl DerefMut for Victim {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.process
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

/// The length of a short container id, as container CLIs print it.
const SHORT_ID_LEN: usize = 12;

impl Container {
    /// Its name, else its short id, which keeps two nameless containers apart.
    pub(crate) fn label(&self) -> &str {
        let name = self.name.as_deref();
        name.unwrap_or_else(|| escape::truncate(&self.id, SHORT_ID_LEN))
    }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn fields(value: &impl Serialize, prefix: &str) -> BTreeSet<String> {
        let value = serde_json::to_value(value).unwrap();
        let names = value.as_object().unwrap().keys();
        names.map(|name| format!("{prefix}{name}")).collect()
    }

    #[test]
    fn every_field_has_its_row_in_the_contract() {
        let rows = include_str!("../../../docs/incident.md").lines();
        let rows = rows.take_while(|line| !line.starts_with("## "));
        let documented: BTreeSet<String> = rows
            .filter_map(|row| row.strip_prefix("| `")?.split('`').next())
            .map(str::to_owned)
            .collect();
        let of = |list: &str| -> BTreeSet<String> {
            let all = documented.iter();
            all.filter(|field| field.starts_with(list))
                .cloned()
                .collect()
        };
        let top: BTreeSet<String> = documented
            .iter()
            .filter(|field| !field.contains('.'))
            .map(|field| field.trim_end_matches("[]").to_owned())
            .collect();
        assert_eq!(fields(&Incident::default(), ""), top);
        let victim = fields(&Victim::default(), "victims[].");
        assert_eq!(victim, of("victims[]."));
        let holder = fields(&Holder::default(), "holders[].");
        assert_eq!(holder, of("holders[]."));
    }

    #[test]
    fn every_field_of_the_kernel_can_be_missing() {
        let value = serde_json::to_value(oom_capture::Process::default()).unwrap();
        let nulls = value.as_object().unwrap().iter();
        let nulls = nulls.filter(|(_, value)| value.is_null());
        let mut nulls: BTreeSet<&str> = nulls.map(|(name, _)| name.as_str()).collect();
        // It is read only on request.
        nulls.remove("environment");
        let process = oom_capture::Process::default();
        assert_eq!(process.missing_fields().collect::<BTreeSet<_>>(), nulls);
    }

    #[test]
    fn a_field_that_is_found_loses_its_reason() {
        let mut incident = Incident::default();
        incident.note("limit_bytes", "unreadable");
        incident.note("limit_bytes_of_another", "unreadable");
        assert_eq!(incident.record::<u64>("limit_bytes", Err("gone")), None);
        assert_eq!(incident.degraded.len(), 2);
        assert_eq!(incident.degraded[1], "limit_bytes: gone");
        assert_eq!(incident.record("limit_bytes", Ok(7)), Some(7));
        assert_eq!(incident.degraded, ["limit_bytes_of_another: unreadable"]);
    }
}
