//! Compares one container's status with the kernel's kills in it.

use jiff::{SignedDuration, Timestamp};

use super::{MismatchKind, State, Status, UndecidedReason};

/// 128 + SIGTERM: the container was terminated.
pub(super) const TERMINATED: i32 = 143;

/// How far the runtime's clock may be behind the kernel's stamp, converted to wall-clock time.
const SLACK: SignedDuration = SignedDuration::from_secs(1);

/// What the kernel did to a container in one incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kill {
    pub(super) time: Timestamp,
    /// The container's first process was among the victims.
    pub(super) first: bool,
    /// The victim was exiting already, and was sent no signal.
    pub(super) exiting: bool,
}

/// The decision on one container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Agrees,
    Differs(MismatchKind),
    Undecided(UndecidedReason),
    /// The status may still change.
    Later,
}

/// How long after a kill a status was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Age {
    /// Right after a kill every runtime shows the container running, some for a second.
    Fresh,
    /// A container that still runs runs on.
    Settling,
    /// Containerd may learn of an OOM seconds after a container's end, on a node without memory 42 s, and
    /// reports `Error` until then. By now the reason is final.
    Settled,
}

/// For a container in which the kernel killed.
pub(super) fn decide_for_victim(kill: Kill, status: Option<&Status>, age: Age) -> Decision {
    let settled = age == Age::Settled;
    let Some(status) = status else {
        return if settled {
            Decision::Undecided(UndecidedReason::Collected)
        } else {
            Decision::Later
        };
    };
    match status.state {
        State::Exited => match decide_for_exited(kill, status) {
            Decision::Differs(MismatchKind::Missed) if !settled => Decision::Later,
            decision => decision,
        },
        _ if age == Age::Fresh => Decision::Later,
        State::Running if kill.exiting => Decision::Agrees,
        // The kubelet passes on no reason of a running container.
        State::Running if !kill.first => Decision::Differs(MismatchKind::Missed),
        _ if settled => Decision::Undecided(UndecidedReason::Unsettled),
        _ => Decision::Later,
    }
}

fn decide_for_exited(kill: Kill, status: &Status) -> Decision {
    if ended_before(status, kill.time) {
        return Decision::Undecided(UndecidedReason::Exiting);
    }
    if status.is_oom_killed() == kill.exiting {
        return if kill.exiting {
            // Some runtimes go by the notification of a full cgroup, which there was.
            Decision::Undecided(UndecidedReason::Exiting)
        } else {
            Decision::Differs(MismatchKind::Missed)
        };
    }
    // The runtime's counter covers the container's whole life. An exit code of 0 is no kill.
    let otherwise = status.exit_code == 0 || (!kill.first && status.exit_code == TERMINATED);
    if !kill.exiting && otherwise {
        return Decision::Differs(MismatchKind::Phantom);
    }
    Decision::Agrees
}

/// Whether the status of a container without a victim reports an OOM kill all the same, for an incident at
/// `time`.
pub(super) fn is_suspect(status: &Status, time: Timestamp) -> bool {
    match status.state {
        State::Running => status.is_oom_killed(),
        State::Exited => status.is_oom_killed() && !ended_before(status, time),
        State::Created | State::Unknown => false,
    }
}

fn ended_before(status: &Status, time: Timestamp) -> bool {
    status
        .finished
        .is_some_and(|finished| time.duration_since(finished) > SLACK)
}
