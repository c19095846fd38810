//! Compares Kubernetes' status of a container with the kernel's kills: `docs/incident.md` has the
//! verdicts. Pure: time is an argument.
//!
//! The kubelet takes a container's status from its runtime, and there an OOM kill is a guess: the runtime
//! sees a counter rise, not the victim. The kubelet may keep an old status though the runtime has
//! corrected its own: the stored one counts, where it can be read.

mod decide;
mod mismatch;
mod pending;
mod sentence;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde::Serialize;

pub(crate) use mismatch::Mismatch;
pub(crate) use pending::{Check, PendingChecks};
pub(crate) use sentence::sentence;

use crate::incident::{Container, Pod};

/// One container's status: the CRI's `ContainerStatus`, corrected by the pod's `containerStatuses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub container: Container,
    pub pod: Option<Pod>,
    pub state: State,
    /// `OOMKilled`, `Error`, `Completed`, … Empty where the runtime gives none.
    pub reason: String,
    /// 0 unless the container has exited.
    pub exit_code: i32,
    pub created: Timestamp,
    pub finished: Option<Timestamp>,
}

/// A container in its pod's status, as the kubelet has stored it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The runtime's id, without the scheme.
    pub container_id: String,
    /// `None` while it runs.
    pub ended: Option<Ended>,
}

/// A terminated container, as the kubelet has stored it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// `OOMKilled`, `Error`, `Completed`, …
    pub reason: String,
    /// 137 after a SIGKILL.
    pub exit_code: i32,
    /// To the second.
    pub finished: Option<Timestamp>,
}

/// The CRI's `ContainerState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// Never started.
    Created,
    /// The kubelet reports no reason.
    Running,
    /// The kubelet reports reason and exit code.
    Exited,
    /// The runtime has lost it.
    Unknown,
}

/// How a status contradicts the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, Serialize)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum MismatchKind {
    /// The kernel killed, and the container's status does not show it.
    Missed,
    /// The status is `OOMKilled`, and the kernel killed no process of the container, or it ended otherwise.
    Phantom,
}

/// The result of comparing one container's status with the kernel's kills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// The status shows the kill.
    Agrees,
    /// The status lacks the kill, or shows one that never happened.
    Differs(Box<Mismatch>),
    /// No verdict.
    Undecided(UndecidedReason),
}

/// Why there is no verdict on a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum UndecidedReason {
    /// No container runtime was found.
    NoRuntime,
    /// The runtime or the API server did not answer in time.
    Unanswered,
    /// The runtime has removed the container.
    Collected,
    /// The container's first process was killed, and the runtime does not report its end.
    Unsettled,
    /// The container had ended before the kill, or the victim was exiting already.
    Exiting,
    /// The container is older than this agent, or than the last lost record: a kill in it may have been
    /// missed.
    Unwatched,
    /// Too many containers were to be checked.
    TooMany,
    /// The agent was shut down first.
    Ended,
}

// === impl Ended ===

impl Ended {
    /// Replaces the runtime's end of the container, but for its time, which is more exact.
    fn apply_to(&self, status: Status) -> Status {
        Status {
            state: State::Exited,
            reason: self.reason.clone(),
            exit_code: self.exit_code,
            finished: status.finished.or(self.finished),
            ..status
        }
    }
}

// === impl Status ===

impl Status {
    /// Whether the runtime calls it OOM-killed. All runtimes spell it so.
    pub(crate) fn is_oom_killed(&self) -> bool {
        self.reason == "OOMKilled"
    }
}
