//! What the penguin suffered: every swing, in order, and what has to outlive the process.

mod swung;
mod tail;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

pub use swung::{Position, Replay, Swung};
use tail::Tail;

/// How many swings are kept; the oldest is forgotten first.
pub const HISTORY_CAPACITY: usize = 10_000;

/// The swings so far. Cheap to clone; clones share them.
#[derive(Clone)]
pub struct History(Arc<Mutex<Tail>>);

// === impl History ===

impl History {
    /// A history that ends with the process.
    pub fn in_memory() -> Self {
        Self(Arc::new(Mutex::new(Tail::new())))
    }

    /// Which history positions are in.
    pub fn id(&self) -> Arc<str> {
        self.tail().id()
    }

    /// Swings ever.
    pub fn total(&self) -> u64 {
        self.tail().total()
    }

    /// When the last swing began.
    pub fn last(&self) -> Option<Timestamp> {
        self.tail().last()
    }

    /// The last `limit` swings, newest first.
    pub fn recent(&self, limit: usize) -> Vec<Swung> {
        self.tail().recent(limit)
    }

    /// The first `limit` swings after `position`, oldest first.
    pub fn after(&self, position: &Position, limit: usize) -> Replay {
        self.tail().after(position, limit)
    }

    /// The `limit` namespaces that were swung for most, and how often.
    pub fn leaderboard(&self, limit: usize) -> Vec<(String, u64)> {
        self.tail().leaderboard(limit)
    }

    /// Keeps a swing, and gives it its position.
    pub(crate) fn record(&self, swung: Swung) -> Swung {
        self.tail().record(swung)
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
