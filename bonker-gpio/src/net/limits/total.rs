//! How many of something there may be at a time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

use super::throttle::Throttle;

/// Cheap to clone; clones share the permits.
#[derive(Clone)]
pub(crate) struct TotalLimit {
    what: &'static str,
    max: usize,
    free: Arc<Semaphore>,
    exhausted: Throttle,
}

/// One of a [`TotalLimit`], free again when dropped.
pub(crate) type Permit = OwnedSemaphorePermit;

// === impl TotalLimit ===

impl TotalLimit {
    /// `max` of `what`, a plural for the log.
    pub(crate) fn new(what: &'static str, max: usize) -> Self {
        Self {
            what,
            max,
            free: Arc::new(Semaphore::new(max)),
            exhausted: Throttle::default(),
        }
    }

    /// `None`, and a log line, if no permit is free.
    pub(crate) fn try_acquire(&self) -> Option<Permit> {
        let permit = Arc::clone(&self.free).try_acquire_owned();
        if permit.is_err()
            && let Some(times) = self.exhausted.count()
        {
            let (what, most) = (self.what, self.max);
            warn!(what, most, times, "reached the limit");
        }
        permit.ok()
    }

    pub(crate) async fn acquire(&self) -> Permit {
        if let Some(permit) = self.try_acquire() {
            return permit;
        }
        match Arc::clone(&self.free).acquire_owned().await {
            Ok(permit) => permit,
            // Nothing closes the semaphore.
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TotalLimit;

    #[test]
    fn a_dropped_permit_is_free_and_every_refusal_counts() {
        let limit = TotalLimit::new("tests", 2);
        let (first, second) = (limit.try_acquire(), limit.try_acquire());
        assert!(first.is_some() && second.is_some());
        assert!(limit.clone().try_acquire().is_none());
        assert_eq!(limit.free.available_permits(), 0);
        assert!(limit.try_acquire().is_none());
        drop(first);
        assert_eq!(limit.free.available_permits(), 1);
        assert!(limit.try_acquire().is_some());
        assert_eq!(limit.exhausted.count(), None, "the third");
        assert_eq!(limit.exhausted.count(), Some(4));
    }
}
