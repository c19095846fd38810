//! So many of something at a time, and no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

/// A fixed number of places. Cheap to clone; clones share the places.
#[derive(Clone)]
pub(super) struct Places {
    what: &'static str,
    most: usize,
    free: Arc<Semaphore>,
    /// How often somebody came when none was free.
    short: Arc<AtomicU64>,
}

/// One of the [`Places`], free again when dropped.
pub(super) struct Place(#[expect(dead_code, reason = "held, not used")] OwnedSemaphorePermit);

// === impl Places ===

impl Places {
    /// `most` places for `what`, a plural.
    pub(super) fn new(what: &'static str, most: usize) -> Self {
        Self {
            what,
            most,
            free: Arc::new(Semaphore::new(most)),
            short: Arc::default(),
        }
    }

    /// A place, if one is free.
    pub(super) fn try_take(&self) -> Option<Place> {
        let permit = Arc::clone(&self.free).try_acquire_owned();
        let place = permit.ok().map(Place);
        if place.is_none() {
            self.fell_short();
        }
        place
    }

    /// A place, as soon as one is free.
    pub(super) async fn take(&self) -> Place {
        if let Some(place) = self.try_take() {
            return place;
        }
        match Arc::clone(&self.free).acquire_owned().await {
            Ok(permit) => Place(permit),
            // Nothing closes the semaphore.
            Err(_) => std::future::pending().await,
        }
    }

    /// Said the 1st, 2nd, 4th, 8th … time: who comes and goes at the bound must not fill
    /// the log.
    fn fell_short(&self) {
        let times = self.short.fetch_add(1, Ordering::Relaxed) + 1;
        if times.is_power_of_two() {
            let (what, most) = (self.what, self.most);
            warn!(what, most, times, "as many as may be at a time");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::Places;

    #[test]
    fn a_dropped_place_is_free_and_every_shortage_counts() {
        let places = Places::new("tests", 2);
        let (first, second) = (places.try_take(), places.try_take());
        assert!(first.is_some() && second.is_some());
        assert!(places.clone().try_take().is_none());
        assert!(places.try_take().is_none());
        drop(first);
        assert!(places.try_take().is_some());
        assert_eq!(places.short.load(Ordering::Relaxed), 2);
    }
}
