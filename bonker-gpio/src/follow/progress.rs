//! Pure: up to where a hub was followed for good.

use std::collections::VecDeque;

use crate::history::Position;

/// What was taken, and what of it still waits for the own arm: a restart would forget that,
/// and has to ask for it again. Never longer than the own desk's queue and the job in hand.
#[derive(Debug)]
pub(super) struct Progress {
    seen: Option<Position>,
    /// Everything up to there has met its fate, unless it was kept already.
    settled: Option<Position>,
    waiting: VecDeque<Waiting>,
}

/// An item that waits, and where those end that came after it and do not.
#[derive(Debug)]
struct Waiting {
    id: String,
    upto: Position,
}

// === impl Progress ===

impl Progress {
    /// Goes on after `kept`.
    pub(super) fn new(kept: Option<Position>) -> Self {
        Self {
            seen: kept,
            settled: None,
            waiting: VecDeque::new(),
        }
    }

    /// After which swing of the hub to go on in this process.
    pub(super) fn seen(&self) -> Option<&Position> {
        self.seen.as_ref()
    }

    /// Nothing was taken yet; from here on everything is.
    pub(super) fn begin(&mut self, end: Position) {
        self.seen = Some(end.clone());
        self.settled = Some(end);
    }

    /// The swing at `position` was taken as the item `id`, which `waits` for the own arm.
    pub(super) fn took(&mut self, id: &str, position: Position, waits: bool) {
        self.seen = Some(position.clone());
        if waits {
            let id = id.to_owned();
            let upto = position;
            self.waiting.push_back(Waiting { id, upto });
        } else if let Some(last) = self.waiting.back_mut() {
            last.upto = position;
        } else {
            self.settled = Some(position);
        }
    }

    /// After which swing of the hub to go on in the next process, where that changed since
    /// the last call; `waits` says which items still do.
    pub(super) fn settle(&mut self, waits: impl Fn(&str) -> bool) -> Option<Position> {
        while let Some(first) = self.waiting.pop_front_if(|first| !waits(&first.id)) {
            self.settled = Some(first.upto);
        }
        self.settled.take()
    }
}

#[cfg(test)]
mod tests {
    use super::Progress;
    use crate::history::Position;

    fn at(sequence: u64) -> Position {
        let history = "a".into();
        Position { history, sequence }
    }

    #[test]
    fn what_still_waits_is_asked_for_again_by_the_next_process() {
        let mut progress = Progress::new(None);
        assert_eq!(progress.seen(), None);
        progress.begin(at(3));
        assert_eq!(progress.settle(|_| true), Some(at(3)));
        progress.took("quiet", at(4), false);
        progress.took("5", at(5), true);
        progress.took("6", at(6), true);
        progress.took("coalesced", at(7), false);
        assert_eq!(progress.seen(), Some(&at(7)));
        assert_eq!(progress.settle(|_| true), Some(at(4)));
        assert_eq!(progress.settle(|_| true), None);
        assert_eq!(progress.settle(|id| id == "5"), None, "6 expired before 5");
        assert_eq!(progress.settle(|id| id == "6"), Some(at(5)));
        assert_eq!(progress.settle(|_| false), Some(at(7)));
        progress.took("8", at(8), false);
        assert_eq!(progress.settle(|_| true), Some(at(8)));
    }
}
