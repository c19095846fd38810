//! Swings by namespace. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One more drops the namespace with the fewest swings.
const MAX_NAMESPACES: usize = 256;

/// The longest name, in bytes. Kubernetes allows a namespace 63.
const MAX_NAME_BYTES: usize = 128;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Board(BTreeMap<String, u64>);

// === impl Board ===

impl Board {
    /// Swings without a namespace are not counted.
    pub(crate) fn count(&mut self, namespace: &str) {
        let end = namespace.floor_char_boundary(MAX_NAME_BYTES);
        let name = namespace.get(..end).unwrap_or_default();
        if name.is_empty() {
            return;
        }
        if !self.0.contains_key(name) && self.0.len() >= MAX_NAMESPACES {
            let fewest = self.0.iter().min_by_key(|(_, swings)| **swings);
            if let Some(fewest) = fewest.map(|(name, _)| name.clone()) {
                self.0.remove(&fewest);
            }
        }
        *self.0.entry(name.to_owned()).or_default() += 1;
    }

    /// The first `limit`, the most swings first.
    pub(crate) fn top(&self, limit: usize) -> Vec<(String, u64)> {
        let mut all: Vec<_> = self.0.iter().map(|(name, n)| (name.clone(), *n)).collect();
        // Stable: by name where the numbers are equal.
        all.sort_by_key(|(_, swings)| std::cmp::Reverse(*swings));
        all.truncate(limit);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::{Board, MAX_NAME_BYTES, MAX_NAMESPACES};

    #[test]
    fn the_worst_come_first_and_the_board_is_bounded() {
        let mut board = Board::default();
        for name in ["b", "a", "b", "c", ""] {
            board.count(name);
        }
        let top = |limit| {
            let top = board.top(limit).into_iter();
            top.map(|(name, n)| format!("{name}{n}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(top(2), ["b2", "a1"]);
        assert_eq!(top(9), ["b2", "a1", "c1"]);
        for n in 0..2 * MAX_NAMESPACES {
            board.count(&format!("{}{n}", "x".repeat(MAX_NAME_BYTES - 4)));
        }
        assert_eq!(board.0.len(), MAX_NAMESPACES);
        assert_eq!(board.top(1), [("b".to_owned(), 2)]);
        assert!(board.0.keys().all(|name| name.len() <= MAX_NAME_BYTES));
    }
}
