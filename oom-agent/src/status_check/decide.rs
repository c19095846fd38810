//! One container's status beside the kernel's kills in it.

use jiff::{SignedDuration, Timestamp};

use super::{MismatchKind, State, Status, UndecidedReason};

/// 128 + SIGTERM: the container was told to end, and did.
pub(super) const TERMINATED: i32 = 143;

/// How far the runtime's clock may lie behind the kernel's stamp, as it was put on the wall.
const SLACK: SignedDuration = SignedDuration::from_secs(1);

/// What the kernel did to a container in one incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kill {
    pub(super) time: Timestamp,
    /// The container's first process was among the victims.
    pub(super) first: bool,
    /// The victim was on its way out, and was sent no signal.
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

/// How long after a kill a status is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Age {
    /// Right after a kill every runtime shows the container running, some for a second.
    Fresh,
    /// A container that still runs runs on.
    Settling,
    /// Containerd may learn seconds after a container's end that it was out of memory, on a node without
    /// memory 42 s, and call it `Error` until then. An end that is called otherwise now stays so.
    Settled,
}

/// On a container in which the kernel killed.
pub(super) fn struck(kill: Kill, status: Option<&Status>, age: Age) -> Decision {
    let settled = age == Age::Settled;
    let Some(status) = status else {
        return if settled {
            Decision::Undecided(UndecidedReason::Collected)
        } else {
            Decision::Later
        };
    };
    match status.state {
        State::Exited => match ended(kill, status) {
            Decision::Differs(MismatchKind::Missed) if !settled => Decision::Later,
            decision => decision,
        },
        _ if age == Age::Fresh => Decision::Later,
        State::Running if kill.exiting => Decision::Agrees,
        // Whatever the reason says: the kubelet passes on none of a container that runs.
        State::Running if !kill.first => Decision::Differs(MismatchKind::Missed),
        _ if settled => Decision::Undecided(UndecidedReason::Unsettled),
        _ => Decision::Later,
    }
}

fn ended(kill: Kill, status: &Status) -> Decision {
    if is_before(status, kill.time) {
        return Decision::Undecided(UndecidedReason::Exiting);
    }
    if status.is_oom_killed() == kill.exiting {
        return if kill.exiting {
            // Some runtimes go by the notice of a full cgroup, and that there was.
            Decision::Undecided(UndecidedReason::Exiting)
        } else {
            Decision::Differs(MismatchKind::Missed)
        };
    }
    // The runtime's counter is that of the container's whole life. Who ends with 0 was not killed.
    let otherwise = status.exit_code == 0 || (!kill.first && status.exit_code == TERMINATED);
    if !kill.exiting && otherwise {
        return Decision::Differs(MismatchKind::Phantom);
    }
    Decision::Agrees
}

/// Whether a container in which nothing was killed is called OOM-killed all the same, by an incident of
/// that time.
pub(super) fn is_suspect(status: &Status, time: Timestamp) -> bool {
    match status.state {
        State::Running => status.is_oom_killed(),
        State::Exited => status.is_oom_killed() && !is_before(status, time),
        State::Created | State::Unknown => false,
    }
}

fn is_before(status: &Status, time: Timestamp) -> bool {
    status
        .finished
        .is_some_and(|finished| time.duration_since(finished) > SLACK)
}
