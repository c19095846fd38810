//! The outcomes of recent ids.

use std::collections::{HashMap, VecDeque};

use super::answer::Outcome;

/// Ids; the oldest is dropped first.
pub(crate) const MEMORY_CAPACITY: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Memory {
    decided: HashMap<String, Outcome>,
    order: VecDeque<String>,
}

// === impl Memory ===

impl Memory {
    pub(super) fn get(&self, id: &str) -> Option<Outcome> {
        self.decided.get(id).copied()
    }

    pub(super) fn insert(&mut self, id: String, outcome: Outcome) {
        if self.decided.insert(id.clone(), outcome).is_some() {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > MEMORY_CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.decided.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MEMORY_CAPACITY, Memory, Outcome};

    #[test]
    fn memory_is_bounded_and_forgets_the_oldest() {
        let mut memory = Memory::default();
        for n in 0..=MEMORY_CAPACITY {
            memory.insert(n.to_string(), Outcome::Quiet);
        }
        assert_eq!(memory.order.len(), MEMORY_CAPACITY);
        assert_eq!(memory.decided.len(), MEMORY_CAPACITY);
        assert_eq!(memory.get("0"), None);
        assert_eq!(memory.get("1"), Some(Outcome::Quiet));
    }
}
