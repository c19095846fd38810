//! Decides, without waiting, what becomes of an item; remembers and counts its answers.

use std::collections::{HashMap, VecDeque};

use crate::arm::NotQueued;
use crate::bonk::{Bonk, Malformed};

/// How many ids are remembered with their answers; the oldest is forgotten first.
pub const MEMORY_CAPACITY: usize = 4096;

/// What was decided about an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted,
    Duplicate(First),
    Full,
    Rejected(String),
}

/// The answer an id got when it was first seen. Rejections are not remembered: what makes
/// an item malformed is its id, and a server that stops forgets everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    Accepted,
    Full,
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
    answers: HashMap<String, First>,
    order: VecDeque<String>,
}

// === impl Desk ===

impl Desk {
    /// Answers `item`; `queue` is asked only about an item that is new and well-formed.
    pub(super) fn answer(
        &mut self,
        item: Result<Bonk, Malformed>,
        stopping: bool,
        queue: impl FnOnce(Bonk) -> Result<(), NotQueued>,
    ) -> Answer {
        let answer = self.decide(item, stopping, queue);
        let count = match answer {
            Answer::Accepted => &mut self.tally.accepted,
            Answer::Duplicate(_) => &mut self.tally.duplicates,
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
        if let Some(first) = self.memory.recall(&bonk.id) {
            return Answer::Duplicate(first);
        }
        if stopping {
            return Answer::Rejected("the server is shutting down".to_owned());
        }
        let id = bonk.id.clone();
        match queue(bonk) {
            Ok(()) => {
                self.memory.keep(id, First::Accepted);
                Answer::Accepted
            }
            Err(NotQueued::Full) => {
                self.memory.keep(id, First::Full);
                Answer::Full
            }
            Err(NotQueued::Stopped) => Answer::Rejected("the arm has stopped".to_owned()),
        }
    }
}

// === impl Memory ===

impl Memory {
    fn recall(&self, id: &str) -> Option<First> {
        self.answers.get(id).copied()
    }

    fn keep(&mut self, id: String, answer: First) {
        if self.order.len() >= MEMORY_CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.answers.remove(&oldest);
        }
        self.order.push_back(id.clone());
        self.answers.insert(id, answer);
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Desk, First, MEMORY_CAPACITY, Tally};
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
            Answer::Duplicate(First::Accepted)
        );
        assert_eq!(desk.answer(bonk("b"), false, full), Answer::Full);
        assert_eq!(
            desk.answer(bonk("b"), false, yes),
            Answer::Duplicate(First::Full)
        );
        let rejected = desk.answer(Err(Malformed::NoItem), false, yes);
        assert!(matches!(rejected, Answer::Rejected(_)), "{rejected:?}");
        let rejected = desk.answer(bonk("c"), true, |_| panic!("queued while stopping"));
        assert!(matches!(rejected, Answer::Rejected(_)), "{rejected:?}");
        assert_eq!(
            desk.tally(),
            Tally {
                accepted: 1,
                duplicates: 2,
                full: 1,
                rejected: 2
            }
        );
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
        assert_eq!(desk.memory.answers.len(), MEMORY_CAPACITY);
        assert_eq!(
            desk.answer(bonk("1"), false, |_| Ok(())),
            Answer::Duplicate(First::Accepted)
        );
        assert_eq!(desk.answer(bonk("0"), false, |_| Ok(())), Answer::Accepted);
    }
}
