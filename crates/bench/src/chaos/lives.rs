//! The agents that were, one after another. Pure.

use crate::compare::{Struck, Told};

/// One agent, from its start to its end; times in ms since the host's boot.
#[derive(Debug, Default)]
pub(super) struct Life {
    /// Before it was started.
    pub(super) begun_ms: u64,
    /// When it had said that it is attached.
    pub(super) attached_ms: u64,
    /// Before it was sent its signal.
    pub(super) struck_ms: u64,
    /// Once it was gone.
    pub(super) gone_ms: u64,
    pub(super) told: Vec<Told>,
    /// Lines of standard output that are none, such as one that SIGKILL cut short.
    pub(super) torn: u64,
    /// Incidents whose bonk was answered, with the answer.
    pub(super) answered: Vec<(String, String)>,
}

/// Where a kill fell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// An agent was attached from before it until after it.
    Watched,
    /// An agent was just starting or ending.
    Around,
    /// There was no agent.
    Away,
}

/// From a victim's word to its end, at most: it still has to eat, and the CPUs are busy.
const DYING_MS: u64 = 1000;

/// Where that kill fell.
pub(super) fn when(kill: &Struck, lives: &[Life]) -> When {
    let (from, to) = (kill.at_ms, kill.at_ms.saturating_add(DYING_MS));
    let watched = |life: &Life| life.attached_ms <= from && to <= life.struck_ms;
    let touched = |life: &Life| life.begun_ms <= to && from <= life.gone_ms;
    if lives.iter().any(watched) {
        When::Watched
    } else if lives.iter().any(touched) {
        When::Around
    } else {
        When::Away
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(begun_ms: u64, attached_ms: u64, struck_ms: u64, gone_ms: u64) -> Life {
        Life {
            begun_ms,
            attached_ms,
            struck_ms,
            gone_ms,
            ..Life::default()
        }
    }

    #[test]
    fn a_kill_is_watched_only_from_its_start_to_its_end() {
        let lives = [
            life(1500, 2000, 5000, 5100),
            life(8000, 9000, 20_000, 20_000),
        ];
        for (at_ms, expected) in [
            (499, When::Away),
            (500, When::Around),
            (2000, When::Watched),
            (4000, When::Watched),
            (4001, When::Around),
            (1999, When::Around),
            (5100, When::Around),
            (5101, When::Away),
            (6999, When::Away),
            (7000, When::Around),
            (15_000, When::Watched),
        ] {
            let kill = Struck {
                cgroup: "/a".into(),
                pid: 1,
                at_ms,
            };
            assert_eq!(when(&kill, &lives), expected, "{at_ms}");
        }
    }
}
