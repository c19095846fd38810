//! The agents, one after another. Pure.

use crate::compare::{IncidentLine, Kill};

/// One agent, from its start to its end; times in ms since the host's boot.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// Before it was started.
    pub(super) begun_ms: u64,
    /// When it had logged that it is attached.
    pub(super) attached_ms: u64,
    /// Before it was sent its signal.
    pub(super) signalled_ms: u64,
    /// Once it was gone.
    pub(super) gone_ms: u64,
    pub(super) incidents: Vec<IncidentLine>,
    /// Lines of standard output that are none, such as one that SIGKILL cut short.
    pub(super) torn: u64,
    /// Incidents whose bonk was answered, with the answer.
    pub(super) answered: Vec<(String, String)>,
}

/// What the agent did at a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agent {
    /// An agent was attached from before it until after it.
    Attached,
    /// An agent was just starting or ending.
    Changing,
    /// There was no agent.
    Absent,
}

/// From a victim's note to its end, at most: it still has to eat, and the CPUs are busy.
const DYING_MS: u64 = 1000;

/// What the agent did at that kill.
pub(super) fn agent_at(kill: &Kill, runs: &[Run]) -> Agent {
    let (from, to) = (kill.at_ms, kill.at_ms.saturating_add(DYING_MS));
    let attached = |run: &Run| run.attached_ms <= from && to <= run.signalled_ms;
    let touched = |run: &Run| run.begun_ms <= to && from <= run.gone_ms;
    if runs.iter().any(attached) {
        Agent::Attached
    } else if runs.iter().any(touched) {
        Agent::Changing
    } else {
        Agent::Absent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(begun_ms: u64, attached_ms: u64, signalled_ms: u64, gone_ms: u64) -> Run {
        Run {
            begun_ms,
            attached_ms,
            signalled_ms,
            gone_ms,
            ..Run::default()
        }
    }

    #[test]
    fn an_agent_is_attached_at_a_kill_only_from_its_start_to_its_end() {
        let runs = [run(1500, 2000, 5000, 5100), run(8000, 9000, 20_000, 20_000)];
        for (at_ms, expected) in [
            (499, Agent::Absent),
            (500, Agent::Changing),
            (2000, Agent::Attached),
            (4000, Agent::Attached),
            (4001, Agent::Changing),
            (1999, Agent::Changing),
            (5100, Agent::Changing),
            (5101, Agent::Absent),
            (6999, Agent::Absent),
            (7000, Agent::Changing),
            (15_000, Agent::Attached),
        ] {
            let kill = Kill {
                cgroup: "/a".into(),
                pid: 1,
                at_ms,
            };
            assert_eq!(agent_at(&kill, &runs), expected, "{at_ms}");
        }
    }
}
