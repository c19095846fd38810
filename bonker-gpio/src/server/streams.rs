//! The streams that stay open: so many of one peer, and none of items that is idle for long.

use std::net::IpAddr;
use std::time::Duration;

use tonic::Status;

use crate::bounds::{Guest, Peers};

/// Cheap to clone; clones share the counts.
#[derive(Clone)]
pub(super) struct Streams {
    peers: Peers,
    most: usize,
    idle_timeout: Duration,
}

// === impl Streams ===

impl Streams {
    pub(super) fn new(per_peer: usize, idle_timeout: Duration) -> Self {
        Self {
            peers: Peers::new("streams", per_peer),
            most: per_peer,
            idle_timeout,
        }
    }

    /// Counts a stream of `peer` for as long as what is returned lives.
    pub(super) fn open(&self, peer: Option<IpAddr>) -> Result<Option<Guest>, Status> {
        let Some(peer) = peer else { return Ok(None) };
        self.peers.admit(peer).map(Some).ok_or_else(|| {
            Status::resource_exhausted(format!(
                "this address has {} streams open already, as many as may be \
                 (--max-connections-per-peer of the bonker)",
                self.most
            ))
        })
    }

    pub(super) fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }
}
