//! A TCP port that serves HTTP: its connections are limited in all and for each peer, probed by
//! the kernel, and in TLS if it is configured. Each has a task of its own, so that none waits for
//! the handshake of another.

use std::io::{self, Cursor};
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use clap::builder::RangedU64ValueParser;
use futures::StreamExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use service::error_chain::chain;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;
use tower::ServiceExt as _;
use tracing::{debug, info, warn};

use super::limits::{PeerLimit, PeerPermit, Permit, Throttle, TotalLimit};
use super::tls::Acceptor;

/// For the TLS handshake and the preface of HTTP/2. After them a client of gRPC may be silent for
/// ever.
pub const OPEN_DEADLINE: Duration = Duration::from_secs(5);

/// Keepalive: a peer that vanished is disconnected after the idle time and three unanswered
/// probes. The kernel sends them; unlike HTTP/2's pings they wake neither this process nor the
/// peer's.
const PROBE_AFTER: Duration = Duration::from_mins(1);
const PROBE_EVERY: Duration = Duration::from_secs(20);
const PROBES: u32 = 3;

/// Accepting usually fails for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

/// If no connection closes for so long, the rest are dropped.
const CLOSE_PAUSE: Duration = Duration::from_millis(250);

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
    what: &'static str,
    incoming: TcpIncoming,
    address: SocketAddr,
    acceptor: Acceptor,
    connections: TotalLimit,
    peers: PeerLimit,
    failed: Throttle,
}

struct Connection {
    tcp: TcpStream,
    peer: SocketAddr,
    _permits: (Permit, PeerPermit),
}

/// What a port speaks. Requests have the extension [`ConnectInfo`], the address of the peer.
#[derive(Clone)]
pub(crate) struct Protocol {
    pub(crate) http: Builder<TokioExecutor>,
    /// Bytes that a client sends first, in time, whatever the protocol makes of them.
    pub(crate) preface: usize,
    pub(crate) routes: Router,
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
            what,
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

    /// Serves until `stopping`. Answers that are under way then are finished until `closing`, and
    /// after it as long as a connection closes now and then.
    pub(crate) async fn serve(
        mut self,
        protocol: Protocol,
        stopping: CancellationToken,
        closing: CancellationToken,
    ) {
        let mut open = JoinSet::new();
        loop {
            let connection = tokio::select! {
                biased;
                () = stopping.cancelled() => break,
                Some(_) = open.join_next() => continue,
                connection = self.accept() => connection,
            };
            let acceptor = self.acceptor.clone();
            open.spawn(connection.serve(acceptor, protocol.clone(), stopping.clone()));
        }
        let what = self.what;
        drop(self);
        let all_closed = async { while open.join_next().await.is_some() {} };
        closing.run_until_cancelled(all_closed).await;
        while let Ok(Some(_)) = timeout(CLOSE_PAUSE, open.join_next()).await {}
        if !open.is_empty() {
            let connections = open.len();
            info!(connections, "some {what} are still open and are dropped");
        }
    }

    /// Waits for a permit and a connection.
    async fn accept(&mut self) -> Connection {
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
                    tcp,
                    peer,
                    _permits: (permit, peer_permit),
                };
            }
        }
    }
}

// === impl Connection ===

impl Connection {
    async fn serve(self, acceptor: Acceptor, protocol: Protocol, stopping: CancellationToken) {
        let Self {
            tcp,
            peer,
            _permits,
        } = self;
        let mut preface = vec![0; protocol.preface];
        let open = async {
            let deadline = Instant::now() + OPEN_DEADLINE;
            let mut stream = acceptor.open(tcp, peer, deadline).await?;
            let read = timeout_at(deadline, stream.read_exact(&mut preface)).await;
            read.ok()?.ok().map(|_| stream)
        };
        let Some(Some(stream)) = stopping.run_until_cancelled(open).await else {
            return;
        };
        let (read, write) = tokio::io::split(stream);
        let stream = tokio::io::join(Cursor::new(preface).chain(read), write);
        let routes = protocol.routes;
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            routes.clone().oneshot(request.map(Body::new))
        });
        let http = protocol
            .http
            .serve_connection(TokioIo::new(stream), service);
        let mut http = pin!(http);
        let ended = tokio::select! {
            ended = &mut http => ended,
            () = stopping.cancelled() => {
                http.as_mut().graceful_shutdown();
                http.await
            }
        };
        if let Err(error) = ended {
            debug!(%peer, error = %chain(error.as_ref()), "a connection was cut off");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::net::sockopt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

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
        let gone = first.peer;
        drop(first);
        let third = timeout(SOON, port.accept()).await.unwrap();
        assert_ne!(third.peer, gone);
    }

    #[tokio::test]
    async fn every_connection_is_probed_and_never_delayed() {
        let mut port = port(1, 1).await;
        let _peer = TcpStream::connect(port.address()).await.unwrap();
        let tcp = &timeout(SOON, port.accept()).await.unwrap().tcp;
        assert!(sockopt::tcp_nodelay(tcp).unwrap());
        assert!(sockopt::socket_keepalive(tcp).unwrap());
        assert_eq!(sockopt::tcp_keepidle(tcp).unwrap(), PROBE_AFTER);
        assert_eq!(sockopt::tcp_keepintvl(tcp).unwrap(), PROBE_EVERY);
        assert_eq!(sockopt::tcp_keepcnt(tcp).unwrap(), PROBES);
    }
}
