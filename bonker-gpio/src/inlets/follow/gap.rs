//! Which swings of a hub are missing before the one that came. Pure.

use crate::history::Position;

/// Between the last swing that came and the next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// Swings that the hub no longer has.
    pub(super) missed: u64,
    /// The hub lost swings that came already: it continues, in another history, after an earlier
    /// one.
    pub(super) lost: bool,
}

// === impl Gap ===

impl Gap {
    pub(super) fn between(seen: &Position, next: &Position, missed: u64) -> Self {
        // Where the hub continued.
        let from = next.sequence.saturating_sub(missed.saturating_add(1));
        Self {
            missed,
            lost: next.history != seen.history && from < seen.sequence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Gap;
    use crate::history::Position;

    fn at(history: &str, sequence: u64) -> Position {
        let history = history.into();
        Position { history, sequence }
    }

    #[test]
    fn lost_history_differs_from_missed_swings() {
        let check = |seen: (&str, u64), next: (&str, u64), missed: u64, lost: bool| {
            let gap = Gap::between(&at(seen.0, seen.1), &at(next.0, next.1), missed);
            assert_eq!(gap, Gap { missed, lost }, "{seen:?} {next:?}");
        };
        check(("a", 7), ("a", 8), 0, false);
        check(("a", 7), ("a", 11), 3, false);
        // A restart, and one after a power cut.
        check(("a", 7), ("b", 8), 0, false);
        check(("a", 7), ("b", 6), 0, true);
        // All is gone, and some of what came after it, too.
        check(("a", 7), ("b", 1), 0, true);
        check(("a", 7), ("b", 9), 8, true);
        check(("a", 0), ("b", 1), 0, false);
        // A wrong count does no harm.
        check(("a", 0), ("a", 0), u64::MAX, false);
    }
}
