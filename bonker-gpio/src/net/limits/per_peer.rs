//! How many connections or requests one address may have open, so that it cannot take all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::warn;

use super::throttle::Throttle;

/// Counts by address. Cheap to clone; clones share the counts.
#[derive(Clone)]
pub(crate) struct PeerLimit {
    what: &'static str,
    max: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    refused: Throttle,
}

/// Counts as one of its peer's until dropped.
pub(crate) struct PeerPermit {
    peer: IpAddr,
    limit: PeerLimit,
}

// === impl PeerLimit ===

impl PeerLimit {
    /// `max` of `what`, a plural for the log, from each address.
    pub(crate) fn new(what: &'static str, max: usize) -> Self {
        Self {
            what,
            max,
            open: Arc::default(),
            refused: Throttle::default(),
        }
    }

    /// `None`, and a log line, if `peer` has reached the limit.
    pub(crate) fn try_acquire(&self, peer: IpAddr) -> Option<PeerPermit> {
        // The same machine may come as IPv4 and as IPv4 in IPv6.
        let peer = peer.to_canonical();
        let mut open = self.open();
        let count = open.entry(peer).or_default();
        if *count >= self.max {
            if let Some(times) = self.refused.count() {
                let (what, most) = (self.what, self.max);
                warn!(%peer, what, most, times, "refused a peer that has reached its limit");
            }
            return None;
        }
        *count += 1;
        let limit = self.clone();
        Some(PeerPermit { peer, limit })
    }

    pub(crate) fn max(&self) -> usize {
        self.max
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl PeerPermit ===

impl Drop for PeerPermit {
    fn drop(&mut self) {
        let mut open = self.limit.open();
        if let Some(count) = open.get_mut(&self.peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PeerLimit;

    #[test]
    fn each_address_has_its_own_limit_and_is_forgotten() {
        let limit = PeerLimit::new("tests", 2);
        let acquire = |peer: &str| limit.try_acquire(peer.parse().unwrap());
        let first = acquire("192.0.2.1");
        let second = acquire("::ffff:192.0.2.1");
        assert!(first.is_some() && second.is_some());
        assert!(acquire("192.0.2.1").is_none());
        assert!(acquire("192.0.2.2").is_some());
        drop(first);
        let third = acquire("192.0.2.1");
        assert!(third.is_some() && acquire("192.0.2.1").is_none());
        drop((second, third));
        assert!(limit.open().is_empty());
    }
}
