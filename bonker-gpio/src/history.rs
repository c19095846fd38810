//! Every swing in order, and other state that outlives the process. It is kept in memory; a
//! thread writes it to a database.

mod board;
mod error;
mod head;
mod runs;
mod shared;
mod store;
mod swing;
mod tail;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use service::error_chain::chain;
use tracing::{error, info};

pub(crate) use board::Board;
pub(crate) use error::HistoryError;
pub(crate) use head::Restored;
use shared::{Shared, State};
use store::Store;
pub(crate) use swing::{Position, Replay, Swing};
pub use tail::MEMORY_CAPACITY as SWINGS_IN_MEMORY;

/// Swings in the database; the oldest is dropped first.
pub(crate) const HISTORY_CAPACITY: u64 = 10_000;

/// For the last write.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// The swings so far. Cheap to clone; clones share them.
#[derive(Clone)]
pub struct History(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    store: Option<Arc<Store>>,
}

// === impl History ===

impl History {
    /// A history that ends with the process, of the last [`SWINGS_IN_MEMORY`] swings.
    pub fn in_memory() -> Self {
        let shared = Arc::new(Shared::new(State::in_memory()));
        let store = None;
        Self(Arc::new(Handle { shared, store }))
    }

    /// The history in the directory `dir`, which is made if need be. A database that cannot be
    /// read is moved aside, and a new one begun.
    pub fn open(dir: &Path) -> Result<Self, HistoryError> {
        let (store, state) = Store::open(dir)?;
        let store = Arc::new(store);
        let shared = Arc::new(Shared::new(state));
        writer::start_writer(Arc::clone(&shared), Arc::clone(&store))?;
        let total = shared.state().head.total;
        info!(dir = %dir.display(), total, "opened the history");
        let store = Some(store);
        Ok(Self(Arc::new(Handle { shared, store })))
    }

    /// The history of this run. Each run starts another one, since a power cut loses the last
    /// moments of a run; positions of earlier runs stay valid.
    pub fn id(&self) -> Arc<str> {
        self.0.shared.state().runs.id()
    }

    pub fn total(&self) -> u64 {
        self.0.shared.state().head.total
    }

    pub fn last(&self) -> Option<Timestamp> {
        self.0.shared.state().head.last
    }

    /// The last `limit` swings, newest first. May read from the disk.
    pub fn recent(&self, limit: usize) -> Vec<Swing> {
        let mut swings = self.0.shared.state().tail.recent(limit);
        let wanted = limit.saturating_sub(swings.len());
        let before = swings.last().map(|swing| swing.position.sequence);
        let before = before.unwrap_or(u64::MAX);
        if wanted > 0 {
            swings.extend(self.read(|store| store.swings_before(before, wanted)));
        }
        swings
    }

    /// The first `limit` swings after `position`, oldest first. A position of an unknown
    /// history is before the first swing, one beyond the end is the end. May read from the disk.
    pub fn swings_after(&self, position: &Position, limit: usize) -> Replay {
        let (after, first, tail) = {
            let state = self.0.shared.state();
            let after = state.runs.sequence_of(position);
            let after = after.min(state.head.total);
            (
                after,
                state.first_in_memory(),
                state.tail.swings_after(after, limit),
            )
        };
        let mut swings = Vec::new();
        if after + 1 < first {
            swings = self.read(|store| store.swings_between(after, first, limit));
        }
        let room = limit.saturating_sub(swings.len());
        swings.extend(tail.into_iter().take(room));
        Replay { after, swings }
    }

    /// The position of the swing number `sequence`.
    pub fn position(&self, sequence: u64) -> Position {
        self.0.shared.state().runs.position_of(sequence)
    }

    /// The `limit` namespaces with the most swings, most first.
    pub fn leaderboard(&self, limit: usize) -> Vec<(String, u64)> {
        self.0.shared.state().head.board.top(limit)
    }

    /// The toggle was left at its other end.
    pub fn toggled(&self) -> bool {
        self.0.shared.state().head.toggled
    }

    pub fn keep_toggled(&self, toggled: bool) {
        self.0.shared.change(|state| state.head.toggled = toggled);
    }

    /// For the admission after a restart.
    pub(crate) fn take_restored(&self) -> Restored {
        self.0.shared.state().take_restored()
    }

    /// Up to where a hub is followed; `None` before the first.
    pub(crate) fn followed(&self) -> Option<Position> {
        self.0.shared.state().head.followed.clone()
    }

    /// Keeps up to where a hub is followed. It gets to the disk no sooner than the swings that
    /// were recorded before.
    pub(crate) fn keep_followed(&self, position: Position) {
        self.0
            .shared
            .change(|state| state.head.followed = Some(position));
    }

    /// Keeps a swing, gives it its position, and keeps the answer to the item `id` that was
    /// swung for: both or neither get to the disk.
    pub(crate) fn record(&self, id: &str, outcome: &'static str, swing: Swing) -> Swing {
        self.0.shared.change(|state| {
            state.keep_answer(id, outcome);
            state.record(swing)
        })
    }

    pub(crate) fn keep_answer(&self, id: &str, outcome: &'static str) {
        self.0.shared.change(|state| state.keep_answer(id, outcome));
    }

    pub(crate) fn keep_snooze(&self, until: Option<Timestamp>) {
        self.0.shared.change(|state| state.head.snoozed = until);
    }

    /// Writes the rest and closes the database; waits a second at most. Later changes are lost.
    pub fn close(&self) {
        if self.0.store.is_some() && !self.0.shared.close(Instant::now() + CLOSE_DEADLINE) {
            error!("the history did not get to the disk in time: its last moments are lost");
        }
    }

    fn read(&self, query: impl FnOnce(&Store) -> Result<Vec<Swing>, redb::Error>) -> Vec<Swing> {
        let Some(store) = &self.0.store else {
            return Vec::new();
        };
        let mut swings = query(store).unwrap_or_else(|why| {
            error!(error = %chain(&why), "cannot read the history");
            Vec::new()
        });
        let state = self.0.shared.state();
        for swing in &mut swings {
            swing.position = state.runs.position_of(swing.position.sequence);
        }
        swings
    }
}

// === impl Handle ===

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.begin_to_close();
    }
}

#[cfg(test)]
mod tests;
