//! Limits of open streams: their number for each peer, and how long one may be idle.

use std::net::IpAddr;
use std::time::Duration;

use tonic::Status;

use crate::net::limits::{PeerLimit, PeerPermit};

/// Cheap to clone; clones share the counts.
#[derive(Clone)]
pub(super) struct Streams {
    peers: PeerLimit,
    max: usize,
    idle_timeout: Duration,
}

// === impl Streams ===

impl Streams {
    pub(super) fn new(per_peer: usize, idle_timeout: Duration) -> Self {
        Self {
            peers: PeerLimit::new("streams", per_peer),
            max: per_peer,
            idle_timeout,
        }
    }

    /// The stream counts while its permit lives.
    pub(super) fn open(&self, peer: Option<IpAddr>) -> Result<Option<PeerPermit>, Status> {
        let Some(peer) = peer else { return Ok(None) };
        self.peers.try_acquire(peer).map(Some).ok_or_else(|| {
            Status::resource_exhausted(format!(
                "this address has {} streams open already, the most it may have \
                 (--max-connections-per-peer of the bonker)",
                self.max
            ))
        })
    }

    pub(super) fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }
}
