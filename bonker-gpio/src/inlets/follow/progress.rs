//! Up to where a hub was followed for good. Pure.

use std::collections::VecDeque;

use crate::history::Position;

/// What was submitted, and which of it still waits for the arm: a restart loses that and requests
/// it again. Never longer than the queue and the job in hand.
#[derive(Debug)]
pub(super) struct Progress {
    seen: Option<Position>,
    /// Nothing up to there is pending; `None` if it was kept already.
    committed: Option<Position>,
    pending: VecDeque<Pending>,
}

/// A pending item, and the last one after it before the next pending one.
#[derive(Debug)]
struct Pending {
    id: String,
    upto: Position,
}

// === impl Progress ===

impl Progress {
    /// Continues after `kept`.
    pub(super) fn new(kept: Option<Position>) -> Self {
        Self {
            seen: kept,
            committed: None,
            pending: VecDeque::new(),
        }
    }

    /// Where this process continues.
    pub(super) fn seen(&self) -> Option<&Position> {
        self.seen.as_ref()
    }

    /// The first connection: what comes after `end` is followed.
    pub(super) fn begin(&mut self, end: Position) {
        self.seen = Some(end.clone());
        self.committed = Some(end);
    }

    /// The swing at `position` was submitted as the item `id`.
    pub(super) fn submitted(&mut self, id: &str, position: Position, is_pending: bool) {
        self.seen = Some(position.clone());
        if is_pending {
            let id = id.to_owned();
            let upto = position;
            self.pending.push_back(Pending { id, upto });
        } else if let Some(last) = self.pending.back_mut() {
            last.upto = position;
        } else {
            self.committed = Some(position);
        }
    }

    /// Where the next process continues, if that changed since the last call.
    pub(super) fn commit(&mut self, is_pending: impl Fn(&str) -> bool) -> Option<Position> {
        while let Some(first) = self.pending.pop_front_if(|first| !is_pending(&first.id)) {
            self.committed = Some(first.upto);
        }
        self.committed.take()
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
    fn the_next_process_requests_pending_items_again() {
        let mut progress = Progress::new(None);
        assert_eq!(progress.seen(), None);
        progress.begin(at(3));
        assert_eq!(progress.commit(|_| true), Some(at(3)));
        progress.submitted("quiet", at(4), false);
        progress.submitted("5", at(5), true);
        progress.submitted("6", at(6), true);
        progress.submitted("coalesced", at(7), false);
        assert_eq!(progress.seen(), Some(&at(7)));
        assert_eq!(progress.commit(|_| true), Some(at(4)));
        assert_eq!(progress.commit(|_| true), None);
        assert_eq!(progress.commit(|id| id == "5"), None, "6 expired before 5");
        assert_eq!(progress.commit(|id| id == "6"), Some(at(5)));
        assert_eq!(progress.commit(|_| false), Some(at(7)));
        progress.submitted("8", at(8), false);
        assert_eq!(progress.commit(|_| true), Some(at(8)));
    }
}
