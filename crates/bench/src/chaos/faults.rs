//! Which fault is injected when, from a seed. Pure.

use std::time::Duration;

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// The API server, by SIGKILL; etcd lives on.
    ApiServer,
    /// The container runtime, by SIGKILL; containers live on.
    Containerd,
    /// The agent, by SIGTERM.
    AgentTerm,
    /// The agent, by SIGKILL.
    AgentKill,
    /// The API server by SIGKILL and, while it is away, the agent by SIGTERM.
    AgentWithoutApi,
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// After the one before it was repaired.
    pub(super) after: Duration,
    pub(super) fault: Fault,
    /// Until what was killed is started again.
    pub(super) away: Duration,
}

// === impl Fault ===

impl Fault {
    pub(super) const ALL: [Self; 5] = [
        Self::ApiServer,
        Self::Containerd,
        Self::AgentTerm,
        Self::AgentKill,
        Self::AgentWithoutApi,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ApiServer => "API server, SIGKILL",
            Self::Containerd => "containerd, SIGKILL",
            Self::AgentTerm => "agent, SIGTERM",
            Self::AgentKill => "agent, SIGKILL",
            Self::AgentWithoutApi => "API server, SIGKILL; meanwhile agent, SIGTERM",
        }
    }
}

/// Faults without an end: each of them once in every round, in any order.
pub(super) fn schedule(seed: u64) -> impl Iterator<Item = Step> {
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut round = Vec::new();
    std::iter::from_fn(move || {
        if round.is_empty() {
            round = Fault::ALL.to_vec();
            chance.shuffle(&mut round);
        }
        Some(Step {
            after: Duration::from_millis(chance.u64(500..=6000)),
            fault: round.pop()?,
            away: Duration::from_millis(chance.u64(0..=3000)),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_schedule() {
        let steps = |seed| schedule(seed).take(20).collect::<Vec<_>>();
        assert_eq!(steps(7), steps(7));
        assert_ne!(steps(7), steps(8));
    }

    #[test]
    fn every_round_has_each_fault() {
        let steps: Vec<Step> = schedule(1).take(Fault::ALL.len() * 10).collect();
        for round in steps.chunks(Fault::ALL.len()) {
            let mut faults: Vec<Fault> = round.iter().map(|step| step.fault).collect();
            faults.sort();
            assert_eq!(faults, Fault::ALL);
        }
    }
}
