//! Peers can cause some log lines at will; these must not fill the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts an event that is logged the 1st, 2nd, 4th, 8th … time. Clones share the count.
#[derive(Clone, Default)]
pub(crate) struct Throttle(Arc<AtomicU64>);

// === impl Throttle ===

impl Throttle {
    /// Counts once; the count if it is to be logged.
    pub(crate) fn count(&self) -> Option<u64> {
        let times = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        times.is_power_of_two().then_some(times)
    }
}

#[cfg(test)]
mod tests {
    use super::Throttle;

    #[test]
    fn each_doubling_is_logged() {
        let throttle = Throttle::default();
        let logged: Vec<u64> = (0..100).filter_map(|_| throttle.clone().count()).collect();
        assert_eq!(logged, [1, 2, 4, 8, 16, 32, 64]);
    }
}
