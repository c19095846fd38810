//! Pure: the latest swings in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use super::HISTORY_CAPACITY;
use super::swung::{Position, Replay, Swung};

#[derive(Debug)]
pub(super) struct Tail {
    id: Arc<str>,
    total: u64,
    swings: VecDeque<Swung>,
    namespaces: HashMap<String, u64>,
}

// === impl Tail ===

impl Tail {
    pub(super) fn new() -> Self {
        let id = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        Self {
            id: id.into(),
            total: 0,
            swings: VecDeque::new(),
            namespaces: HashMap::new(),
        }
    }

    pub(super) fn id(&self) -> Arc<str> {
        Arc::clone(&self.id)
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn last(&self) -> Option<Timestamp> {
        self.swings.back().map(|swung| swung.swung_at)
    }

    pub(super) fn recent(&self, limit: usize) -> Vec<Swung> {
        self.swings.iter().rev().take(limit).cloned().collect()
    }

    pub(super) fn after(&self, position: &Position, limit: usize) -> Replay {
        let after = if position.history == self.id {
            position.sequence
        } else {
            0
        };
        let later = |swung: &&Swung| swung.position.sequence > after;
        let swings: Vec<Swung> = self
            .swings
            .iter()
            .filter(later)
            .take(limit)
            .cloned()
            .collect();
        let first = swings.first().map(|swung| swung.position.sequence);
        let missed = first.map_or(0, |first| first.saturating_sub(after + 1));
        Replay { missed, swings }
    }

    pub(super) fn leaderboard(&self, limit: usize) -> Vec<(String, u64)> {
        let mut board: Vec<_> = self.namespaces.clone().into_iter().collect();
        board.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        board.truncate(limit);
        board
    }

    pub(super) fn record(&mut self, swung: Swung) -> Swung {
        self.total += 1;
        let position = Position {
            history: self.id(),
            sequence: self.total,
        };
        let swung = Swung { position, ..swung };
        *self
            .namespaces
            .entry(swung.bonk.namespace.clone())
            .or_default() += 1;
        self.swings.push_back(swung.clone());
        if self.swings.len() > HISTORY_CAPACITY {
            self.swings.pop_front();
        }
        swung
    }
}
