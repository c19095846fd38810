//! A TCP port: its connections are limited in all and for each peer, probed by the kernel, and in
//! TLS if it is configured.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use futures::StreamExt as _;
use service::error_chain::chain;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::time::{Sleep, sleep};
use tonic::transport::server::TcpIncoming;
use tracing::warn;

use super::limits::{PeerLimit, PeerPermit, Permit, Throttle, TotalLimit};
use super::tls::{Acceptor, Stream};

/// Keepalive: a peer that vanished is disconnected after the idle time and three unanswered
/// probes. The kernel sends them; unlike HTTP/2's pings they wake neither this process nor the
/// peer's.
const PROBE_AFTER: Duration = Duration::from_mins(1);
const PROBE_EVERY: Duration = Duration::from_secs(20);
const PROBES: u32 = 3;

/// Accepting usually fails for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub struct PortLimits {
    /// Most gRPC connections that may be open; further ones wait
    #[arg(long = "max-connections", env = "BONKER_MAX_CONNECTIONS", value_name = "N",
          default_value_t = Self::default().connections,
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=65536))]
    pub connections: usize,
    /// Most of them, and most streams, from one address; behind a NAT or a load balancer many
    /// clients share one
    #[arg(long = "max-connections-per-peer", env = "BONKER_MAX_CONNECTIONS_PER_PEER",
          value_name = "N", default_value_t = Self::default().per_peer,
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=65536))]
    pub per_peer: usize,
}

pub(crate) struct Port {
    incoming: TcpIncoming,
    address: SocketAddr,
    acceptor: Acceptor,
    connections: TotalLimit,
    peers: PeerLimit,
    failed: Throttle,
}

pub(crate) struct Connection {
    stream: Stream,
    local: SocketAddr,
    peer: SocketAddr,
    expected: Option<Expected>,
    _permits: (Permit, PeerPermit),
}

/// Bytes that the peer has to send by a deadline.
struct Expected {
    missing: usize,
    deadline: Pin<Box<Sleep>>,
}

// === impl PortLimits ===

/// For a cluster's agents behind one load balancer, with some left for other peers.
impl Default for PortLimits {
    fn default() -> Self {
        Self {
            connections: 8192,
            per_peer: 6144,
        }
    }
}

// === impl Port ===

impl Port {
    /// `what` is the plural of its connections, for the log.
    pub(crate) fn new(
        what: &'static str,
        listener: TcpListener,
        acceptor: Acceptor,
        limits: PortLimits,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let incoming = TcpIncoming::from(listener)
            .with_nodelay(Some(true))
            .with_keepalive(Some(PROBE_AFTER))
            .with_keepalive_interval(Some(PROBE_EVERY))
            .with_keepalive_retries(Some(PROBES));
        Ok(Self {
            incoming,
            address,
            acceptor,
            connections: TotalLimit::new(what, limits.connections),
            peers: PeerLimit::new(what, limits.per_peer),
            failed: Throttle::default(),
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The limit of its connections.
    pub(crate) fn limit(&self) -> TotalLimit {
        self.connections.clone()
    }

    /// Waits for a permit and a connection. The connection's TLS handshake is driven by its
    /// reads and writes.
    pub(crate) async fn accept(&mut self) -> Connection {
        let permit = self.connections.acquire().await;
        loop {
            let tcp = match self.incoming.next().await {
                Some(Ok(tcp)) => tcp,
                Some(Err(why)) => {
                    if let Some(times) = self.failed.count() {
                        warn!(error = %chain(&why), times, "cannot accept a connection");
                    }
                    sleep(ACCEPT_RETRY).await;
                    continue;
                }
                // It never ends.
                None => std::future::pending().await,
            };
            // An error means that the peer is gone already.
            let Ok(peer) = tcp.peer_addr() else { continue };
            if let Some(peer_permit) = self.peers.try_acquire(peer.ip()) {
                return Connection {
                    stream: self.acceptor.accept(tcp, peer),
                    local: self.address,
                    peer,
                    expected: None,
                    _permits: (permit, peer_permit),
                };
            }
        }
    }
}

// === impl Connection ===

impl Connection {
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Reads fail if the peer does not send `bytes` bytes within `time`, TLS handshake included.
    pub(crate) fn expect(mut self, bytes: usize, time: Duration) -> Self {
        self.expected = Some(Expected {
            missing: bytes,
            deadline: Box::pin(sleep(time)),
        });
        self
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self {
            stream, expected, ..
        } = &mut *self;
        let before = buf.filled().len();
        let read = match stream.poll_open(cx) {
            Poll::Ready(Ok(open)) => Pin::new(open).poll_read(cx, buf),
            Poll::Ready(Err(why)) => Poll::Ready(Err(why)),
            Poll::Pending => Poll::Pending,
        };
        let Some(waiting) = expected else { return read };
        // First, so that a peer that sends a byte now and then does not put the deadline off.
        if waiting.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        ready!(read)?;
        let more = buf.filled().len().saturating_sub(before);
        waiting.missing = waiting.missing.saturating_sub(more);
        if waiting.missing == 0 {
            *expected = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(ready!(self.stream.poll_open(cx))?).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(ready!(self.stream.poll_open(cx))?).poll_write_vectored(cx, bufs)
    }

    /// Plaintext and TLS are.
    fn is_write_vectored(&self) -> bool {
        true
    }

    /// During the handshake nothing was written that could be flushed.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.stream.open() {
            Some(open) => Pin::new(open).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.stream.open() {
            Some(open) => Pin::new(open).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::net::sockopt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;
    use tokio_util::either::Either;

    use super::{PROBE_AFTER, PROBE_EVERY, PROBES, Port, PortLimits};
    use crate::net::tls::Acceptor;

    const SOON: Duration = Duration::from_secs(10);

    async fn port(connections: usize, per_peer: usize) -> Port {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let limits = PortLimits {
            connections,
            per_peer,
        };
        Port::new("tests", listener, Acceptor::plaintext(), limits).unwrap()
    }

    /// The clock is paused: time passes only when no connection waits to be accepted.
    #[tokio::test(start_paused = true)]
    async fn a_connection_over_the_limit_waits_for_a_permit() {
        let mut port = port(2, 3).await;
        let mut peers = Vec::new();
        for _ in 0..3 {
            peers.push(TcpStream::connect(port.address()).await.unwrap());
        }
        let first = timeout(SOON, port.accept()).await.unwrap();
        let _second = timeout(SOON, port.accept()).await.unwrap();
        let third = timeout(SOON, port.accept()).await;
        assert!(third.is_err(), "a third was accepted");
        let gone = first.peer();
        drop(first);
        let third = timeout(SOON, port.accept()).await.unwrap();
        assert_ne!(third.peer(), gone);
    }

    #[tokio::test]
    async fn every_connection_is_probed_and_never_delayed() {
        let mut port = port(1, 1).await;
        let _peer = TcpStream::connect(port.address()).await.unwrap();
        let mut connection = timeout(SOON, port.accept()).await.unwrap();
        let Some(Either::Left(tcp)) = connection.stream.open() else {
            panic!("not plaintext");
        };
        let tcp = &*tcp;
        assert!(sockopt::tcp_nodelay(tcp).unwrap());
        assert!(sockopt::socket_keepalive(tcp).unwrap());
        assert_eq!(sockopt::tcp_keepidle(tcp).unwrap(), PROBE_AFTER);
        assert_eq!(sockopt::tcp_keepintvl(tcp).unwrap(), PROBE_EVERY);
        assert_eq!(sockopt::tcp_keepcnt(tcp).unwrap(), PROBES);
    }
}
