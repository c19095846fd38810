//! The state that the writer shares with the rest: all of it, and which of it is not on the disk.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

use super::head::{Batch, Head, MAX_ANSWERS, Restored};
use super::runs::{Runs, random_id};
use super::swing::{Position, Swing};
use super::tail::{MEMORY_CAPACITY, Tail};

pub(super) struct Shared {
    state: Mutex<State>,
    /// There is something to write, or it was written, or the history closes.
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Open,
    Closing,
    Closed,
}

pub(super) struct State {
    pub(super) runs: Runs,
    pub(super) head: Head,
    pub(super) tail: Tail,
    answers: VecDeque<(String, &'static str)>,
    /// From the database, for the admission.
    restored: Vec<(String, String)>,
    /// The last swing on the disk; `None` without a database.
    written: Option<u64>,
    /// Swings that made room for others before they were on the disk.
    lost: u64,
    dirty: bool,
    life: Life,
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let result = change(&mut state);
        if !std::mem::replace(&mut state.dirty, true) {
            self.changed.notify_all();
        }
        result
    }

    pub(super) fn begin_to_close(&self) {
        let mut state = self.state();
        if state.life == Life::Open {
            state.life = Life::Closing;
        }
        self.changed.notify_all();
    }

    /// Waits until everything is on the disk; false if that took too long.
    pub(super) fn close(&self, deadline: Instant) -> bool {
        self.begin_to_close();
        let mut state = self.state();
        while state.life != Life::Closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// The next batch, as soon as there is something, and `linger` after that, so that more
    /// of it goes at once. `None` at the end.
    pub(super) fn next_batch(&self, linger: Duration) -> Option<Batch> {
        let mut state = self.state();
        while !state.dirty && state.life == Life::Open {
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let ready = Instant::now() + linger;
        while state.life == Life::Open {
            let left = ready.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.dirty.then(|| state.take_batch())
    }

    /// The swings up to `sequence` are on the disk.
    pub(super) fn written(&self, sequence: u64) {
        self.state().written = Some(sequence);
        self.changed.notify_all();
    }

    /// Waits until every swing is on the disk.
    #[cfg(test)]
    pub(super) fn flush(&self) {
        let mut state = self.state();
        while state
            .written
            .is_some_and(|written| written < state.head.total)
        {
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn closed(&self) {
        self.state().life = Life::Closed;
        self.changed.notify_all();
    }
}

// === impl State ===

impl State {
    pub(super) fn in_memory() -> Self {
        let mut runs = Runs::default();
        runs.begin_run(random_id(), 0);
        Self {
            runs,
            head: Head::default(),
            tail: Tail::default(),
            answers: VecDeque::new(),
            restored: Vec::new(),
            written: None,
            lost: 0,
            dirty: false,
            life: Life::Open,
        }
    }

    pub(super) fn from_database(head: Head, runs: Runs, answers: Vec<(String, String)>) -> Self {
        Self {
            written: Some(head.total),
            runs,
            head,
            restored: answers,
            ..Self::in_memory()
        }
    }

    pub(super) fn take_restored(&mut self) -> Restored {
        Restored {
            answers: std::mem::take(&mut self.restored),
            snoozed: self.head.snoozed,
        }
    }

    /// The sequence of the oldest swing in memory, or of the next.
    pub(super) fn first_in_memory(&self) -> u64 {
        self.tail.first().unwrap_or(self.head.total + 1)
    }

    pub(super) fn record(&mut self, swing: Swing) -> Swing {
        self.head.total += 1;
        self.head.last = Some(swing.swung_at);
        self.head.board.count(&swing.bonk.namespace);
        let position = Position {
            history: self.runs.id(),
            sequence: self.head.total,
        };
        let swing = Swing { position, ..swing };
        let gone = self.tail.push(swing.clone());
        if let (Some(gone), Some(written)) = (gone, self.written)
            && gone > written
        {
            self.lost += 1;
            if self.lost.is_power_of_two() {
                let (lost, capacity) = (self.lost, MEMORY_CAPACITY);
                warn!(
                    lost,
                    capacity, "the disk is too slow for the history: lost a swing"
                );
            }
        }
        swing
    }

    pub(super) fn keep_answer(&mut self, id: &str, outcome: &'static str) {
        if self.written.is_none() {
            return;
        }
        if self.answers.len() >= MAX_ANSWERS {
            self.answers.pop_front();
        }
        self.answers.push_back((id.to_owned(), outcome));
    }

    fn take_batch(&mut self) -> Batch {
        self.dirty = false;
        Batch {
            head: self.head.clone(),
            swings: self
                .tail
                .swings_after(self.written.unwrap_or(0), MEMORY_CAPACITY),
            answers: self.answers.drain(..).collect(),
        }
    }
}
