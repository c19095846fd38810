//! A TCP port that strangers reach: so many connections at a time and from one peer, each
//! probed by the kernel, in TLS where it is asked for.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tracing::warn;

use crate::bounds::{Guest, Peers, Place, Places, Throttle};
use crate::report::chain;
use crate::tls::{Acceptor, Stream};

/// A peer that vanished without a word is let go after these: the first probe, the pause
/// before the next, and how many stay unanswered. The kernel sends them; unlike HTTP/2's
/// pings they do not wake this process, nor the peer's.
const PROBE_AFTER: Duration = Duration::from_mins(1);
const PROBE_EVERY: Duration = Duration::from_secs(20);
const PROBES: u32 = 3;

/// A pause after accepting failed: usually for want of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// How much of a port strangers may take up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortLimits {
    /// How many connections may be open. More wait, unaccepted, until one closes.
    pub connections: usize,
    /// How many connections one address may have open. More are hung up on.
    pub per_peer: usize,
}

/// A listener within its limits; serves axum as it is.
pub struct Port {
    incoming: TcpIncoming,
    address: SocketAddr,
    acceptor: Acceptor,
    places: Places,
    peers: Peers,
    failed: Throttle,
}

/// An open connection and its place among those of its [`Port`].
pub struct Connection {
    stream: Stream,
    peer: SocketAddr,
    _place: Place,
    _guest: Guest,
}

// === impl PortLimits ===

/// A cluster's worth of agents, behind one load balancer; some are left for others.
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
    /// Accepts what `listener` gets. `what` its connections are is for the log, a plural.
    pub fn new(
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
            places: Places::new(what, limits.connections),
            peers: Peers::new(what, limits.per_peer),
            failed: Throttle::default(),
        })
    }

    /// The address that is listened on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The places of its connections.
    pub(crate) fn places(&self) -> Places {
        self.places.clone()
    }

    /// The next connection, as soon as there is a place for it. Its TLS handshake is still
    /// to come: reading from it or writing to it drives that, so that nobody waits here.
    pub async fn next(&mut self) -> Connection {
        let place = self.places.take().await;
        loop {
            let tcp = match self.incoming.next().await {
                Some(Ok(tcp)) => tcp,
                Some(Err(why)) => {
                    if let Some(times) = self.failed.count() {
                        warn!(error = chain(&why), times, "cannot accept a connection");
                    }
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                }
                // It never ends.
                None => std::future::pending().await,
            };
            // An error means that the peer is gone already.
            let Ok(peer) = tcp.peer_addr() else { continue };
            if let Some(guest) = self.peers.admit(peer.ip()) {
                return Connection {
                    stream: self.acceptor.accept(tcp, peer),
                    peer,
                    _place: place,
                    _guest: guest,
                };
            }
        }
    }
}

impl axum::serve::Listener for Port {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let connection = self.next().await;
        let peer = connection.peer;
        (connection, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

// === impl Connection ===

impl Connection {
    /// Who is at its other end.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::net::sockopt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::{PROBE_AFTER, PROBE_EVERY, PROBES, Port, PortLimits};
    use crate::tls::Acceptor;

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
    async fn who_finds_no_place_waits_for_one() {
        let mut port = port(2, 3).await;
        let mut peers = Vec::new();
        for _ in 0..3 {
            peers.push(TcpStream::connect(port.address()).await.unwrap());
        }
        let first = timeout(SOON, port.next()).await.unwrap();
        let _second = timeout(SOON, port.next()).await.unwrap();
        let third = timeout(SOON, port.next()).await;
        assert!(third.is_err(), "a third was accepted");
        let gone = first.peer();
        drop(first);
        let third = timeout(SOON, port.next()).await.unwrap();
        assert_ne!(third.peer(), gone);
    }

    #[tokio::test]
    async fn every_connection_is_probed_and_never_delayed() {
        let mut port = port(1, 1).await;
        let _peer = TcpStream::connect(port.address()).await.unwrap();
        let connection = timeout(SOON, port.next()).await.unwrap();
        let tcp = connection.stream.tcp().unwrap();
        assert!(sockopt::tcp_nodelay(tcp).unwrap());
        assert!(sockopt::socket_keepalive(tcp).unwrap());
        assert_eq!(sockopt::tcp_keepidle(tcp).unwrap(), PROBE_AFTER);
        assert_eq!(sockopt::tcp_keepintvl(tcp).unwrap(), PROBE_EVERY);
        assert_eq!(sockopt::tcp_keepcnt(tcp).unwrap(), PROBES);
    }
}
