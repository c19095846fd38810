//! A watcher's swings: first those of the history, then live ones, without gap or repetition.

use std::collections::VecDeque;

use tokio::sync::broadcast::{self, error::RecvError};

use crate::app::App;
use crate::history::{History, Position, Swing};

/// How many swings are read from the history at once.
const CHUNK: usize = 64;

pub(super) struct Watcher {
    history: History,
    live: broadcast::Receiver<Swing>,
    /// Where to begin; its sequence is known after the history is read.
    from: Option<Position>,
    /// The sequence of the last swing that was sent.
    sent: u64,
    /// Read from the history and not sent yet.
    read: VecDeque<Swing>,
    /// The history may have more than was sent.
    behind: bool,
}

// === impl Watcher ===

impl Watcher {
    /// Starts after `after`; without it, with the next swing.
    pub(super) fn new(app: &App, after: Option<Position>) -> Self {
        // Before the history is read, so that no swing falls between the two.
        let live = app.watch();
        let history = app.history().clone();
        Self {
            sent: history.total(),
            behind: after.is_some(),
            from: after,
            history,
            live,
            read: VecDeque::new(),
        }
    }

    /// The next swing, and how many were missed before it; `None` at the end. Nothing is lost if
    /// it is dropped before.
    pub(super) async fn next(&mut self) -> Option<(Swing, u64)> {
        loop {
            let swing = match self.read.pop_front() {
                Some(swing) => swing,
                None if self.behind => {
                    self.catch_up().await;
                    continue;
                }
                None => match self.live.recv().await {
                    Ok(swing) => swing,
                    Err(RecvError::Lagged(_)) => {
                        self.behind = true;
                        continue;
                    }
                    Err(RecvError::Closed) => return None,
                },
            };
            let sequence = swing.position.sequence;
            // Both the history and the live swings may have it.
            if sequence <= self.sent {
                continue;
            }
            let missed = sequence - self.sent - 1;
            self.sent = sequence;
            return Some((swing, missed));
        }
    }

    /// Whether swings after the last one were read already.
    pub(super) fn has_more(&self) -> bool {
        !self.read.is_empty()
    }

    /// May read from the disk, and therefore runs on the blocking pool.
    async fn catch_up(&mut self) {
        let history = self.history.clone();
        let from = self.from.clone();
        let position = from.unwrap_or_else(|| self.history.position(self.sent));
        let read =
            tokio::task::spawn_blocking(move || history.swings_after(&position, CHUNK)).await;
        let Ok(replay) = read else {
            // The runtime is shutting down.
            self.behind = false;
            return;
        };
        if self.from.take().is_some() {
            self.sent = replay.after;
        }
        self.behind = !replay.swings.is_empty();
        self.read = replay.swings.into();
    }
}
