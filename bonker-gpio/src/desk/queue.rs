//! What waits for the servo, first come first served, and what has just swung.

use std::collections::VecDeque;
use std::time::Duration;

use super::moment::Moment;
use super::place::Place;
use crate::bonk::{Bonk, Severity};

/// Something to swing for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// The first item of its place, or the worst if a worse one came while it waited.
    pub(crate) bonk: Bonk,
    /// Further items of the same place that came while it waited.
    pub(crate) coalesced: u64,
    /// Id of the item that was ACCEPTED for it, also when a worse one took its place.
    pub(super) accepted: String,
    pub(super) place: Option<Place>,
    /// From then on it is too old, by the clock that is never set.
    pub(super) expires: Duration,
}

/// Bounded; forgets what swung when the window is over.
#[derive(Debug)]
pub(super) struct Queue {
    capacity: usize,
    window: Duration,
    waiting: VecDeque<Job>,
    swung: VecDeque<Recent>,
}

#[derive(Debug)]
struct Recent {
    place: Place,
    severity: Severity,
    until: Duration,
}

// === impl Job ===

impl Job {
    /// Items it stands for.
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

    /// Adds `bonk` to one of its place that waits, or that swung within the window for
    /// something as bad at least; `None` if it stands alone and is given back.
    pub(super) fn coalesce(&mut self, bonk: Bonk, expires: Duration, now: Moment) -> Option<Bonk> {
        let place = Place::of(&bonk).filter(|_| !self.window.is_zero());
        let Some(place) = place else {
            return Some(bonk);
        };
        let waiting = self
            .waiting
            .iter_mut()
            .find(|job| job.place.as_ref() == Some(&place) && job.expires > now.up);
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
            .any(|recent| recent.place == place && recent.severity >= bonk.severity);
        (!covered).then_some(bonk)
    }

    /// Queues `bonk`; false if there is no room.
    pub(super) fn push(&mut self, bonk: Bonk, expires: Duration) -> bool {
        if self.waiting.len() >= self.capacity {
            return false;
        }
        self.waiting.push_back(Job {
            accepted: bonk.id.clone(),
            place: Place::of(&bonk),
            bonk,
            coalesced: 0,
            expires,
        });
        true
    }

    /// Whether the item of that id waits in a job of its own.
    pub(super) fn has(&self, id: &str) -> bool {
        self.waiting.iter().any(|job| job.accepted == id)
    }

    pub(super) fn pop(&mut self) -> Option<Job> {
        self.waiting.pop_front()
    }

    /// Takes out what is too old; how many items that were.
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

    /// `job` begins to swing.
    pub(super) fn swings(&mut self, job: &Job, now: Moment) {
        self.swung.retain(|recent| recent.until > now.up);
        let Some(place) = &job.place else { return };
        if self.swung.len() >= self.capacity {
            self.swung.pop_front();
        }
        self.swung.push_back(Recent {
            place: place.clone(),
            severity: job.bonk.severity,
            until: now.up.saturating_add(self.window),
        });
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// What waits stands for so many items.
    #[cfg(test)]
    pub(super) fn items(&self) -> u64 {
        self.waiting.iter().map(Job::items).sum()
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Takes out everything; how many items that were.
    pub(super) fn clear(&mut self) -> u64 {
        self.waiting.drain(..).map(|job| job.items()).sum()
    }
}
