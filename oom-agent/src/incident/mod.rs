//! What an incident is, and how records become one. Pure: time is an argument.

mod assembler;
mod autopsy;
mod sentence;

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde::Serialize;

pub use assembler::{Assembler, Found};
pub use autopsy::arguments;
pub use sentence::sentence;

/// The version of the JSON line; `docs/incident.md` is the contract.
pub const VERSION: u32 = 1;

/// One OOM kill, told whole. Serializes to the JSON line of `docs/incident.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Incident {
    /// [`VERSION`].
    pub version: u32,
    /// Stable over restarts of the agent.
    pub id: String,
    /// When the kernel marked the victim.
    pub time: Timestamp,
    /// Kubernetes node, else host name.
    pub node: String,
    /// Whose limit it was.
    pub scope: Scope,
    /// That limit, in bytes.
    pub limit_bytes: Option<u64>,
    /// What became of the container.
    pub outcome: Outcome,
    /// Whose allocation set the OOM killer off.
    pub trigger: Option<Trigger>,
    /// Who was killed.
    pub victims: Vec<Victim>,
    /// `field: reason` for each thing that should be known and is not.
    pub degraded: Vec<String>,
    /// The kernel's stamp of the mark: `CLOCK_MONOTONIC`, in ns.
    #[serde(skip)]
    pub stamp_ns: u64,
}

/// Whose memory limit was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// It was not determined.
    Unknown,
}

/// What became of the victim's container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The victim was PID 1 of its own PID namespace.
    ContainerDied,
    /// It was not: the container may live on.
    ChildDied,
    /// It cannot be told, or there is no container.
    Unknown,
}

/// The process whose allocation set the OOM killer off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trigger {
    /// tgid, as the host sees it.
    pub pid: u32,
    /// Name of the thread that allocated.
    pub comm: String,
}

/// A process that was killed. What is not known is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Victim {
    /// tgid, as the host sees it.
    pub pid: u32,
    /// The kernel's name of it, at most 15 bytes.
    pub comm: Option<String>,
    /// The arguments, at most 1 KiB in all.
    pub cmdline: Option<Vec<String>>,
    /// Real user id in the initial user namespace.
    pub uid: Option<u32>,
    /// −1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Resident memory at the kill.
    pub rss_bytes: Option<Rss>,
    /// Path from the root of the memory controller's hierarchy.
    pub cgroup: Option<String>,
    /// The container, where the cgroup is one's.
    pub container: Option<Container>,
    /// The pod, where the cgroup is one's.
    pub pod: Option<Pod>,
    /// Depth of its PID namespace, and its pid there.
    #[serde(skip)]
    pub namespace_pid: Option<(u32, u32)>,
}

/// Resident memory by kind, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rss {
    /// Anonymous memory.
    pub anon: u64,
    /// Mapped files.
    pub file: u64,
    /// Shared memory and tmpfs.
    pub shmem: u64,
}

/// A container as its runtime knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Container {
    /// 64 hex digits.
    pub id: String,
    /// Its name in the pod's spec.
    pub name: Option<String>,
    /// `containerd`, `cri-o`, `docker`, …
    pub runtime: Option<String>,
}

/// A pod as Kubernetes knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pod {
    /// Its namespace.
    pub namespace: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Its uid; for a static pod the API server's, not the cgroup's.
    pub uid: Option<String>,
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
