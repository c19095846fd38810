//! Jobs that wait for the servo, in the order of their arrival, and recent swings.

use std::collections::VecDeque;
use std::time::Duration;

use super::coalesce_key::CoalesceKey;
use super::moment::Moment;
use crate::bonk::{Bonk, Severity};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// The first item of its key, or the worst if a worse one came while it waited.
    pub(crate) bonk: Bonk,
    /// Further items of the same key that came while it waited.
    pub(crate) coalesced: u64,
    /// Id of the item that was ACCEPTED for it, also when a worse one took its place.
    pub(crate) accepted: String,
    pub(super) key: Option<CoalesceKey>,
    /// By the monotonic clock.
    pub(super) expires: Duration,
}

/// Bounded; forgets a swing when its window is over.
#[derive(Debug)]
pub(super) struct Queue {
    capacity: usize,
    window: Duration,
    waiting: VecDeque<Job>,
    swung: VecDeque<Recent>,
}

#[derive(Debug)]
struct Recent {
    key: CoalesceKey,
    severity: Severity,
    until: Duration,
}

// === impl Job ===

impl Job {
    pub(super) fn items(&self) -> u64 {
        self.coalesced + 1
    }
}

// === impl Queue ===

impl Queue {
    pub(super) fn new(capacity: usize, window: Duration) -> Self {
        Self {
            capacity,
            window,
            waiting: VecDeque::new(),
            swung: VecDeque::new(),
        }
    }

    /// Adds `bonk` to a waiting job of its key, or to a swing within the window of at least its
    /// severity; gives it back if there is none.
    pub(super) fn coalesce(&mut self, bonk: Bonk, expires: Duration, now: Moment) -> Option<Bonk> {
        let key = CoalesceKey::from_bonk(&bonk).filter(|_| !self.window.is_zero());
        let Some(key) = key else {
            return Some(bonk);
        };
        let waiting = self
            .waiting
            .iter_mut()
            .find(|job| job.key.as_ref() == Some(&key) && job.expires > now.up);
        if let Some(job) = waiting {
            job.coalesced += 1;
            job.expires = job.expires.max(expires);
            if bonk.severity > job.bonk.severity {
                job.bonk = bonk;
            }
            return None;
        }
        self.swung.retain(|recent| recent.until > now.up);
        let covered = self
            .swung
            .iter()
            .any(|recent| recent.key == key && recent.severity >= bonk.severity);
        (!covered).then_some(bonk)
    }

    /// False if the queue is full.
    pub(super) fn push(&mut self, bonk: Bonk, expires: Duration) -> bool {
        if self.waiting.len() >= self.capacity {
            return false;
        }
        self.waiting.push_back(Job {
            accepted: bonk.id.clone(),
            key: CoalesceKey::from_bonk(&bonk),
            bonk,
            coalesced: 0,
            expires,
        });
        true
    }

    /// Whether a job was created for the item `id`.
    pub(super) fn contains(&self, id: &str) -> bool {
        self.waiting.iter().any(|job| job.accepted == id)
    }

    pub(super) fn pop(&mut self) -> Option<Job> {
        self.waiting.pop_front()
    }

    /// Drops expired jobs; returns their number of items.
    pub(super) fn drop_expired(&mut self, now: Moment) -> u64 {
        let mut items = 0;
        self.waiting.retain(|job| {
            let fresh = job.expires > now.up;
            if !fresh {
                items += job.items();
            }
            fresh
        });
        items
    }

    /// Further items of `job`'s key are coalesced for the length of the window.
    pub(super) fn start_window(&mut self, job: &Job, now: Moment) {
        self.swung.retain(|recent| recent.until > now.up);
        let Some(key) = &job.key else { return };
        if self.swung.len() >= self.capacity {
            self.swung.pop_front();
        }
        self.swung.push_back(Recent {
            key: key.clone(),
            severity: job.bonk.severity,
            until: now.up.saturating_add(self.window),
        });
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    #[cfg(test)]
    pub(super) fn items(&self) -> u64 {
        self.waiting.iter().map(Job::items).sum()
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Drops all jobs; returns their number of items.
    pub(super) fn clear(&mut self) -> u64 {
        self.waiting.drain(..).map(|job| job.items()).sum()
    }
}
