//! Decides, without waiting, what becomes of an item; remembers and counts its answers.

use std::collections::{HashSet, VecDeque};

use crate::arm::NotQueued;
use crate::bonk::{Bonk, Malformed};

/// How many accepted ids are remembered; the oldest is forgotten first.
pub const MEMORY_CAPACITY: usize = 4096;

/// What was decided about an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted,
    /// Accepted before. An id that was dropped or rejected may try again.
    Duplicate,
    Full,
    Rejected(String),
}

/// Answers given since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) accepted: u64,
    pub(super) duplicates: u64,
    pub(super) full: u64,
    pub(super) rejected: u64,
}

#[derive(Default)]
pub(super) struct Desk {
    memory: Memory,
    tally: Tally,
}

#[derive(Default)]
struct Memory {
    accepted: HashSet<String>,
    order: VecDeque<String>,
}

// === impl Desk ===

impl Desk {
    /// Answers `item`; `queue` is asked only about an item that is well-formed and was not
    /// accepted before.
    pub(super) fn answer(
        &mut self,
        item: Result<Bonk, Malformed>,
        stopping: bool,
        queue: impl FnOnce(Bonk) -> Result<(), NotQueued>,
    ) -> Answer {
        let answer = self.decide(item, stopping, queue);
        let count = match answer {
            Answer::Accepted => &mut self.tally.accepted,
            Answer::Duplicate => &mut self.tally.duplicates,
            Answer::Full => &mut self.tally.full,
            Answer::Rejected(_) => &mut self.tally.rejected,
        };
        *count += 1;
        answer
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    fn decide(
        &mut self,
        item: Result<Bonk, Malformed>,
        stopping: bool,
        queue: impl FnOnce(Bonk) -> Result<(), NotQueued>,
    ) -> Answer {
        let bonk = match item {
            Ok(bonk) => bonk,
            Err(why) => return Answer::Rejected(why.to_string()),
        };
        if self.memory.accepted.contains(&bonk.id) {
            return Answer::Duplicate;
        }
        if stopping {
            return Answer::Rejected("the server is shutting down".to_owned());
        }
        let id = bonk.id.clone();
        match queue(bonk) {
            Ok(()) => {
                self.memory.keep(id);
                Answer::Accepted
            }
            Err(NotQueued::Full) => Answer::Full,
            Err(NotQueued::Stopped) => Answer::Rejected("the arm has stopped".to_owned()),
        }
    }
}

// === impl Memory ===

impl Memory {
    fn keep(&mut self, id: String) {
        if self.order.len() >= MEMORY_CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.accepted.remove(&oldest);
        }
        self.order.push_back(id.clone());
        self.accepted.insert(id);
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Desk, MEMORY_CAPACITY, Tally};
    use crate::arm::NotQueued;
    use crate::bonk::{Bonk, Malformed};

    fn bonk(id: &str) -> Result<Bonk, Malformed> {
        let id = id.into();
        let bonk = Bonk {
            id,
            ..Bonk::default()
        };
        bonk.bounded()
    }

    #[test]
    fn each_answer_is_given_and_counted() {
        let mut desk = Desk::default();
        let yes = |_| Ok(());
        let full = |_| Err(NotQueued::Full);
        assert_eq!(desk.answer(bonk("a"), false, yes), Answer::Accepted);
        assert_eq!(
            desk.answer(bonk("a"), false, |_| panic!("queued twice")),
            Answer::Duplicate
        );
        assert_eq!(desk.answer(bonk("b"), false, full), Answer::Full);
        let rejected = desk.answer(Err(Malformed::NoItem), false, yes);
        assert!(matches!(rejected, Answer::Rejected(_)), "{rejected:?}");
        let rejected = desk.answer(bonk("c"), true, |_| panic!("queued while stopping"));
        assert!(matches!(rejected, Answer::Rejected(_)), "{rejected:?}");
        assert_eq!(
            desk.tally(),
            Tally {
                accepted: 1,
                duplicates: 1,
                full: 1,
                rejected: 2
            }
        );
    }

    #[test]
    fn what_was_not_accepted_may_try_again() {
        let mut desk = Desk::default();
        let full = |_| Err(NotQueued::Full);
        let stopped = |_| Err(NotQueued::Stopped);
        for _ in 0..2 {
            assert_eq!(desk.answer(bonk("a"), false, full), Answer::Full);
            let rejected = desk.answer(bonk("a"), false, stopped);
            assert!(matches!(rejected, Answer::Rejected(_)), "{rejected:?}");
        }
        assert_eq!(desk.answer(bonk("a"), false, |_| Ok(())), Answer::Accepted);
        assert_eq!(desk.answer(bonk("a"), false, full), Answer::Duplicate);
        assert_eq!(desk.memory.order.len(), 1);
    }

    #[test]
    fn memory_is_bounded_and_forgets_the_oldest() {
        let mut desk = Desk::default();
        for n in 0..=MEMORY_CAPACITY {
            assert_eq!(
                desk.answer(bonk(&n.to_string()), false, |_| Ok(())),
                Answer::Accepted
            );
        }
        assert_eq!(desk.memory.order.len(), MEMORY_CAPACITY);
        assert_eq!(desk.memory.accepted.len(), MEMORY_CAPACITY);
        assert_eq!(desk.answer(bonk("1"), false, |_| Ok(())), Answer::Duplicate);
        assert_eq!(desk.answer(bonk("0"), false, |_| Ok(())), Answer::Accepted);
    }
}
