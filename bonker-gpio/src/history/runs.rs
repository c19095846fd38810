//! Which run a position is of. Each run continues the numbers where the last one ended on the
//! disk; after a power cut, watchers have seen higher ones. So each run has an id of its own, and
//! a sequence means nothing without it. Pure.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::swing::Position;

/// The oldest is dropped first.
const MAX_RUNS: usize = 64;

/// The runs, oldest first; the last is this one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Runs(Vec<Run>);

/// One run's swings are those after `from`, up to the next one's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    id: String,
    from: u64,
}

/// The id of a new run.
pub(super) fn random_id() -> String {
    format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
}

// === impl Runs ===

impl Runs {
    /// A run begins, after `total` swings.
    pub(super) fn begin_run(&mut self, id: String, total: u64) {
        if self.0.len() >= MAX_RUNS {
            self.0.remove(0);
        }
        let from = total;
        self.0.push(Run { id, from });
    }

    pub(super) fn id(&self) -> Arc<str> {
        self.0
            .last()
            .map_or_else(|| "".into(), |run| run.id.as_str().into())
    }

    /// Where `position` is in the order of all runs; 0 if it is of none of them. One that
    /// names no run counts as it is.
    pub(super) fn sequence_of(&self, position: &Position) -> u64 {
        if position.history.is_empty() {
            return position.sequence;
        }
        let known = self.0.iter().position(|run| *run.id == *position.history);
        let Some((run, n)) = known.and_then(|n| Some((self.0.get(n)?, n))) else {
            return 0;
        };
        let end = self.0.get(n + 1).map_or(u64::MAX - 1, |next| next.from);
        position.sequence.clamp(run.from, end)
    }

    /// The position of a swing; that of a run which is forgotten counts as the oldest's.
    pub(super) fn position_of(&self, sequence: u64) -> Position {
        let run = self.0.iter().rev().find(|run| run.from < sequence);
        Position {
            history: run
                .or_else(|| self.0.first())
                .map_or_else(|| "".into(), |run| run.id.as_str().into()),
            sequence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_RUNS, Position, Runs};

    fn at(history: &str, sequence: u64) -> Position {
        let history = history.into();
        Position { history, sequence }
    }

    #[test]
    fn the_next_run_skips_nothing_after_a_power_cut() {
        let mut runs = Runs::default();
        runs.begin_run("a".into(), 0);
        // Watchers saw 7; 5 were on the disk.
        runs.begin_run("b".into(), 5);
        runs.begin_run("c".into(), 8);
        let check = |history: &str, sequence, found| {
            assert_eq!(runs.sequence_of(&at(history, sequence)), found);
        };
        check("a", 3, 3);
        check("a", 7, 5);
        check("b", 7, 7);
        check("b", 2, 5);
        check("c", 9, 9);
        check("stranger", 9, 0);
        check("", 0, 0);
        check("", 6, 6);
        for (sequence, history) in [(1, "a"), (5, "a"), (6, "b"), (8, "b"), (9, "c")] {
            assert_eq!(runs.position_of(sequence), at(history, sequence));
        }
    }

    #[test]
    fn the_runs_are_bounded() {
        let mut runs = Runs::default();
        for n in 0..=MAX_RUNS as u64 {
            runs.begin_run(n.to_string(), n);
        }
        assert_eq!(runs.0.len(), MAX_RUNS);
        assert_eq!(runs.sequence_of(&at("0", 1)), 0);
        assert_eq!(runs.position_of(1), at("1", 1));
        assert_eq!(&*runs.id(), MAX_RUNS.to_string());
    }
}
