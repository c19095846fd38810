//! Whether the container runtime tells of a kill, and whether of the right one: `docs/incident.md` has
//! the verdicts. Pure: time is an argument.
//!
//! What the kubelet reports of a container comes from its runtime, and the runtime's word on an OOM kill
//! is a guess: it sees a counter move, not who was struck. The kubelet reports what it read when, and may
//! keep it though the runtime has corrected itself: what it has stored counts, where it can be had.

mod decide;
mod mismatch;
mod sentence;
mod watch;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde::Serialize;

pub use mismatch::Mismatch;
pub use sentence::sentence;
pub use watch::{Check, Watch};

use crate::incident::{Container, Pod};

/// What is said of one container: the CRI's `ContainerStatus`, or what the kubelet has made of it in the
/// pod's `containerStatuses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Which container.
    pub container: Container,
    /// Its pod, where Kubernetes made it.
    pub pod: Option<Pod>,
    /// Whether it runs.
    pub state: State,
    /// `OOMKilled`, `Error`, `Completed`, … Empty where the runtime gives none.
    pub reason: String,
    /// Of a container that has exited.
    pub exit_code: i32,
    /// When it was made.
    pub created: Timestamp,
    /// When it ended, if it has.
    pub finished: Option<Timestamp>,
}

/// What the kubelet has stored of a container in its pod's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// As the runtime has it, without scheme.
    pub container_id: String,
    /// `None` while it runs.
    pub ended: Option<Ended>,
}

/// The end of a container, as the kubelet has stored it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
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
pub enum State {
    /// Made, and never started.
    Created,
    /// The kubelet reports nothing but that of it, whatever the reason says.
    Running,
    /// The kubelet reports reason and exit code.
    Exited,
    /// The runtime has lost it.
    Unknown,
}

/// What is wrong with the runtime's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MismatchKind {
    /// The kernel killed, and the container's status does not tell.
    Missed,
    /// The status says `OOMKilled`, and the kernel killed no process of the container, or it ended otherwise.
    Phantom,
}

/// What came of comparing one container's status with the kernel's kills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The status tells of the kill.
    Agrees,
    /// It does not, or it tells of one that never was.
    Differs(Box<Mismatch>),
    /// Nothing can be said.
    Undecided(UndecidedReason),
}

/// Why nothing can be said of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UndecidedReason {
    /// No container runtime was found.
    NoRuntime,
    /// It did not answer, or not in time.
    Unanswered,
    /// It does not know the container any more.
    Collected,
    /// The container's first process was killed, and the runtime has not taken note of its end.
    Unsettled,
    /// The container had ended before the kill, or the victim was exiting already.
    Exiting,
    /// The container is older than this agent, or than the last record that was lost: it may have been
    /// struck unseen.
    Unwatched,
    /// Too many containers were to be looked at.
    TooMany,
    /// The agent was told to end first.
    Ended,
}

// === impl UndecidedReason ===

impl UndecidedReason {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::NoRuntime,
        Self::Unanswered,
        Self::Collected,
        Self::Unsettled,
        Self::Exiting,
        Self::Unwatched,
        Self::TooMany,
        Self::Ended,
    ];

    /// For metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoRuntime => "no-runtime",
            Self::Unanswered => "unanswered",
            Self::Collected => "collected",
            Self::Unsettled => "unsettled",
            Self::Exiting => "exiting",
            Self::Unwatched => "unwatched",
            Self::TooMany => "too-many",
            Self::Ended => "ended",
        }
    }
}

// === impl Ended ===

impl Ended {
    /// In place of what the runtime says, whose time is more exact.
    fn apply(&self, status: Status) -> Status {
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
    pub fn is_oom_killed(&self) -> bool {
        self.reason == "OOMKilled"
    }
}
