//! One container's status beside the kernel's kills in it.

use jiff::{SignedDuration, Timestamp};

use super::{State, Status, Verdict, Why};

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
    Differs(Verdict),
    Undecided(Why),
    /// The status may still change.
    Later,
}

/// On a container in which the kernel killed; `last` is a look after which there is none.
pub(super) fn struck(kill: Kill, status: Option<&Status>, last: bool) -> Decision {
    let Some(status) = status else {
        return Decision::Undecided(Why::Collected);
    };
    match status.state {
        State::Exited => ended(kill, status),
        // Right after a kill every runtime shows the container running, some for a second.
        _ if !last => Decision::Later,
        State::Running if kill.exiting => Decision::Agrees,
        // Whatever the reason says: the kubelet passes on none of a container that runs.
        State::Running if !kill.first => Decision::Differs(Verdict::Missed),
        _ => Decision::Undecided(Why::Unsettled),
    }
}

fn ended(kill: Kill, status: &Status) -> Decision {
    if is_before(status, kill.time) {
        return Decision::Undecided(Why::Exiting);
    }
    if status.is_oom_killed() == kill.exiting {
        return if kill.exiting {
            // Some runtimes go by the notice of a full cgroup, and that there was.
            Decision::Undecided(Why::Exiting)
        } else {
            Decision::Differs(Verdict::Missed)
        };
    }
    // The runtime's counter is that of the container's whole life.
    if !kill.exiting && !kill.first && status.exit_code == TERMINATED {
        return Decision::Differs(Verdict::Phantom);
    }
    Decision::Agrees
}

/// Whether a container in which nothing was killed is called OOM-killed all the same, by an incident of
/// that time.
pub(super) fn is_suspect(status: &Status, time: Timestamp) -> bool {
    status.is_oom_killed() && !(status.state == State::Exited && is_before(status, time))
}

fn is_before(status: &Status, time: Timestamp) -> bool {
    status
        .finished
        .is_some_and(|finished| time.duration_since(finished) > SLACK)
}
