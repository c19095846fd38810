//! Limits the items of each peer.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;

/// One more drops the peer that was silent longest.
const MAX_PEERS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// A token bucket for each peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub struct PeerRate {
    /// Bonks a minute that one peer may send in the long run
    #[arg(long = "peer-rate", env = "BONKER_PEER_RATE", value_name = "NUMBER/min",
          default_value = format!("{}/min", Self::default().per_minute), value_parser = per_minute)]
    pub per_minute: u32,
    /// Bonks that one peer may send at once
    #[arg(long = "peer-burst", env = "BONKER_PEER_BURST", value_name = "NUMBER",
          default_value_t = Self::default().burst,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub burst: u32,
}

#[derive(Debug)]
pub(super) struct Rates {
    rate: PeerRate,
    peers: LruCache<IpAddr, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Duration,
}

// === impl Rates ===

impl Rates {
    pub(super) fn new(rate: PeerRate) -> Self {
        Self {
            rate,
            peers: LruCache::new(MAX_PEERS),
        }
    }

    /// Takes a token of `peer`, if it has one at `up`.
    pub(super) fn try_take(&mut self, peer: IpAddr, up: Duration) -> bool {
        let most = f64::from(self.rate.burst);
        let full = || Bucket {
            tokens: most,
            filled: up,
        };
        let bucket = self.peers.get_or_insert_mut(network(peer), full);
        let since = up.saturating_sub(bucket.filled).as_secs_f64();
        let more = since * f64::from(self.rate.per_minute) / 60.0;
        bucket.tokens = (bucket.tokens + more).min(most);
        bucket.filled = up;
        let has = bucket.tokens >= 1.0;
        if has {
            bucket.tokens -= 1.0;
        }
        has
    }
}

impl Default for PeerRate {
    fn default() -> Self {
        Self {
            per_minute: 600,
            burst: 64,
        }
    }
}

fn per_minute(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/min").and_then(|n| n.parse().ok());
    let number = number.filter(|number: &u32| *number > 0);
    number.ok_or_else(|| "use a number a minute, as in 600/min".to_owned())
}

/// One host may have all addresses of its IPv6 network, RFC 4291, section 2.5.4.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => {
            let prefix = v6.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(prefix))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use super::{MAX_PEERS, PeerRate, Rates};

    const RATE: PeerRate = PeerRate {
        per_minute: 60,
        burst: 2,
    };

    #[test]
    fn a_burst_is_let_through_and_then_one_a_second() {
        let mut rates = Rates::new(RATE);
        let mut take = |peer: &str, ms| {
            let peer = peer.parse().unwrap();
            rates.try_take(peer, Duration::from_millis(ms))
        };
        assert!(take("192.0.2.1", 0) && take("192.0.2.1", 0));
        assert!(!take("192.0.2.1", 0) && !take("::ffff:192.0.2.1", 999));
        assert!(take("192.0.2.2", 999), "another peer");
        assert!(take("192.0.2.1", 1001) && !take("192.0.2.1", 1001));
        assert!(take("192.0.2.1", 90_000) && take("192.0.2.1", 90_000));
        assert!(!take("192.0.2.1", 90_000), "over the burst");
        assert!(take("2001:db8::1", 0) && take("2001:db8::2", 0));
        assert!(!take("2001:db8::3", 0), "the same network");
    }

    #[test]
    fn the_peers_are_bounded() {
        let mut rates = Rates::new(RATE);
        for n in 0..2000 {
            let peer = IpAddr::V4(Ipv4Addr::from_bits(n));
            assert!(rates.try_take(peer, Duration::from_secs(n.into())));
        }
        assert_eq!(rates.peers.len(), MAX_PEERS.get());
    }
}
