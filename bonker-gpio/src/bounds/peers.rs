//! So many connections or streams from one address, so that one machine cannot take all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::warn;

use super::throttle::Throttle;

/// Open connections by the address they come from. Cheap to clone; clones share them.
#[derive(Clone)]
pub(crate) struct Peers {
    what: &'static str,
    most: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    refused: Throttle,
}

/// One connection of a peer, forgotten when dropped.
pub(crate) struct Guest {
    peer: IpAddr,
    peers: Peers,
}

// === impl Peers ===

impl Peers {
    /// `most` of `what`, a plural, from each address.
    pub(crate) fn new(what: &'static str, most: usize) -> Self {
        Self {
            what,
            most,
            open: Arc::default(),
            refused: Throttle::default(),
        }
    }

    /// Counts a connection from `peer`, unless it has as many as it may.
    pub(crate) fn admit(&self, peer: IpAddr) -> Option<Guest> {
        // The same machine may come as IPv4 and as IPv4 in IPv6.
        let peer = peer.to_canonical();
        let mut open = self.open();
        let connections = open.entry(peer).or_default();
        if *connections >= self.most {
            if let Some(times) = self.refused.count() {
                let (what, most) = (self.what, self.most);
                warn!(%peer, what, most, times, "refused a peer that has as many as it may");
            }
            return None;
        }
        *connections += 1;
        let peers = self.clone();
        Some(Guest { peer, peers })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Guest ===

impl Drop for Guest {
    fn drop(&mut self) {
        let mut open = self.peers.open();
        if let Some(connections) = open.get_mut(&self.peer) {
            *connections = connections.saturating_sub(1);
            if *connections == 0 {
                open.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Peers;

    #[test]
    fn each_address_has_its_own_bound_and_is_forgotten() {
        let peers = Peers::new("tests", 2);
        let admit = |peer: &str| peers.admit(peer.parse().unwrap());
        let first = admit("192.0.2.1");
        let second = admit("::ffff:192.0.2.1");
        assert!(first.is_some() && second.is_some());
        assert!(admit("192.0.2.1").is_none());
        assert!(admit("192.0.2.2").is_some());
        drop(first);
        let third = admit("192.0.2.1");
        assert!(third.is_some() && admit("192.0.2.1").is_none());
        drop((second, third));
        assert!(peers.open().is_empty());
    }
}
