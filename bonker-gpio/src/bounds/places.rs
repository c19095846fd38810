//! So many of something at a time, and no more.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

use super::throttle::Throttle;

/// A fixed number of places. Cheap to clone; clones share the places.
#[derive(Clone)]
pub(crate) struct Places {
    what: &'static str,
    most: usize,
    free: Arc<Semaphore>,
    /// How often somebody came when none was free.
    short: Throttle,
}

/// One of the [`Places`], free again when dropped.
pub(crate) struct Place(#[expect(dead_code, reason = "held, not used")] OwnedSemaphorePermit);

// === impl Places ===

impl Places {
    /// `most` places for `what`, a plural.
    pub(crate) fn new(what: &'static str, most: usize) -> Self {
        Self {
            what,
            most,
            free: Arc::new(Semaphore::new(most)),
            short: Throttle::default(),
        }
    }

    /// A place, if one is free.
    pub(crate) fn try_take(&self) -> Option<Place> {
        let permit = Arc::clone(&self.free).try_acquire_owned();
        let place = permit.ok().map(Place);
        if place.is_none() {
            self.fell_short();
        }
        place
    }

    /// A place, as soon as one is free.
    pub(crate) async fn take(&self) -> Place {
        if let Some(place) = self.try_take() {
            return place;
        }
        match Arc::clone(&self.free).acquire_owned().await {
            Ok(permit) => Place(permit),
            // Nothing closes the semaphore.
            Err(_) => std::future::pending().await,
        }
    }

    /// How many are not free.
    pub(crate) fn taken(&self) -> usize {
        self.most.saturating_sub(self.free.available_permits())
    }

    fn fell_short(&self) {
        if let Some(times) = self.short.count() {
            let (what, most) = (self.what, self.most);
            warn!(what, most, times, "as many as may be at a time");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Places;

    #[test]
    fn a_dropped_place_is_free_and_every_shortage_counts() {
        let places = Places::new("tests", 2);
        let (first, second) = (places.try_take(), places.try_take());
        assert!(first.is_some() && second.is_some());
        assert!(places.clone().try_take().is_none());
        assert_eq!(places.taken(), 2);
        assert!(places.try_take().is_none());
        drop(first);
        assert_eq!(places.taken(), 1);
        assert!(places.try_take().is_some());
        assert_eq!(places.short.count(), None, "the third");
        assert_eq!(places.short.count(), Some(4));
    }
}
