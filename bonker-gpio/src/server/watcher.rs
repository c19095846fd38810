//! One who watches: first what the history has, then what happens, without gap or repetition.

use std::collections::VecDeque;

use tokio::sync::broadcast::{self, error::RecvError};

use crate::desk::DeskHandle;
use crate::history::{History, Position, Swung};

/// How many swings are read from the history at once.
const CHUNK: usize = 64;

pub(super) struct Watcher {
    history: History,
    live: broadcast::Receiver<Swung>,
    /// Where to begin; its sequence is known once the history was asked.
    from: Option<Position>,
    /// The sequence of the last swing that was told.
    told: u64,
    /// Read and not told yet.
    read: VecDeque<Swung>,
    /// The history may have more than was told.
    behind: bool,
}

// === impl Watcher ===

impl Watcher {
    /// Of what comes after `after`; if nowhere, of what comes from now on.
    pub(super) fn new(desk: &DeskHandle, after: Option<Position>) -> Self {
        // Before the history is asked: what it does not have yet comes this way.
        let live = desk.watch();
        let history = desk.history().clone();
        Self {
            told: history.total(),
            behind: after.is_some(),
            from: after,
            history,
            live,
            read: VecDeque::new(),
        }
    }

    /// The next swing, and how many before it were missed; `None` if none will ever come.
    pub(super) async fn next(&mut self) -> Option<(Swung, u64)> {
        loop {
            let swung = match self.read.pop_front() {
                Some(swung) => swung,
                None if self.behind => {
                    self.catch_up().await;
                    continue;
                }
                None => match self.live.recv().await {
                    Ok(swung) => swung,
                    Err(RecvError::Lagged(_)) => {
                        self.behind = true;
                        continue;
                    }
                    Err(RecvError::Closed) => return None,
                },
            };
            let sequence = swung.position.sequence;
            // Both the history and the live swings may have it.
            if sequence <= self.told {
                continue;
            }
            let missed = sequence - self.told - 1;
            self.told = sequence;
            return Some((swung, missed));
        }
    }

    /// Reads on; may read from the disk, and therefore does so where that delays nobody.
    async fn catch_up(&mut self) {
        let history = self.history.clone();
        let known = self.from.take();
        let position = known
            .clone()
            .unwrap_or_else(|| self.history.position(self.told));
        let read = tokio::task::spawn_blocking(move || history.after(&position, CHUNK)).await;
        let Ok(replay) = read else {
            // The runtime is shutting down.
            self.behind = false;
            return;
        };
        if known.is_some() {
            self.told = replay.after;
        }
        self.behind = !replay.swings.is_empty();
        self.read = replay.swings.into();
    }
}
