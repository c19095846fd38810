//! Pure: what a swing says about those before it.

use crate::history::Position;

/// What lies between the last swing that was seen and the next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// So many swings were not told of: the hub no longer has them.
    pub(super) missed: u64,
    /// The hub lost some of what it had told of: it goes on, in another history, after a
    /// swing before the last one that was seen.
    pub(super) lost: bool,
}

// === impl Gap ===

impl Gap {
    pub(super) fn between(seen: &Position, told: &Position, missed: u64) -> Self {
        // Where the hub takes the asker to have been.
        let from = told.sequence.saturating_sub(missed.saturating_add(1));
        Self {
            missed,
            lost: told.history != seen.history && from < seen.sequence,
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
    fn what_the_hub_lost_is_told_from_what_it_forgot() {
        let check = |seen: (&str, u64), told: (&str, u64), missed: u64, lost: bool| {
            let gap = Gap::between(&at(seen.0, seen.1), &at(told.0, told.1), missed);
            assert_eq!(gap, Gap { missed, lost }, "{seen:?} {told:?}");
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
        // A hub that counts wrong harms nobody.
        check(("a", 0), ("a", 0), u64::MAX, false);
    }
}
