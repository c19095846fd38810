//! How following fares.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// How following fares; read while it goes on. Cheap to clone; clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Following(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    connected: AtomicBool,
    connections: AtomicU64,
    taken: AtomicU64,
    missed: AtomicU64,
    histories_lost: AtomicU64,
}

// === impl Following ===

impl Following {
    /// Whether the hub tells of its swings now.
    pub fn is_connected(&self) -> bool {
        self.0.connected.load(Relaxed)
    }

    /// Connections after the first.
    pub fn reconnects(&self) -> u64 {
        self.0.connections.load(Relaxed).saturating_sub(1)
    }

    /// Swings of the hub that were given to the own desk.
    pub fn taken(&self) -> u64 {
        self.0.taken.load(Relaxed)
    }

    /// Swings that the hub no longer had in its history when they were asked for.
    pub fn missed(&self) -> u64 {
        self.0.missed.load(Relaxed)
    }

    /// How often the hub had lost some of the history that it had told of.
    pub fn histories_lost(&self) -> u64 {
        self.0.histories_lost.load(Relaxed)
    }

    pub(super) fn connect(&self) {
        self.0.connections.fetch_add(1, Relaxed);
        self.0.connected.store(true, Relaxed);
    }

    pub(super) fn disconnect(&self) {
        self.0.connected.store(false, Relaxed);
    }

    pub(super) fn take(&self) {
        self.0.taken.fetch_add(1, Relaxed);
    }

    pub(super) fn miss(&self, swings: u64) {
        self.0.missed.fetch_add(swings, Relaxed);
    }

    pub(super) fn lose_history(&self) {
        self.0.histories_lost.fetch_add(1, Relaxed);
    }
}
