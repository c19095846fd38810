//! The accepted connections: so many at a time and from one address, none of them to a peer
//! that will not say what it wants.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use super::guard;
use super::router::router;
use super::site::Site;
use crate::bounds::{Guest, Peers, Place, Places};
use crate::server::Access;
use crate::tls::Acceptor;

/// How many HTTP connections may be open. More wait, unaccepted, until one closes.
pub const MAX_HTTP_CONNECTIONS: usize = 1024;

/// How many HTTP connections one address may have open. More are hung up on.
pub const MAX_HTTP_CONNECTIONS_PER_PEER: usize = 64;

/// A peer has sent the head of its first or next request after this, or is hung up on.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// The longest head of a request, in bytes.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// After an `accept` that failed (no file descriptors are left), before the next.
const AGAIN: Duration = Duration::from_secs(1);

/// The web side at work. Dropped, it hangs up on everybody.
pub(crate) struct Web(Option<AbortOnDropHandle<()>>);

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Serves on `listener`, if there is one, until the site's `stopping`: then it accepts
/// nobody, lets each answer end that is under way, and is done.
pub(crate) fn start(listener: Option<TcpListener>, access: Access, site: Site) -> Web {
    let task = listener
        .map(|listener| AbortOnDropHandle::new(tokio::spawn(serve(listener, access, site))));
    Web(task)
}

async fn serve(listener: TcpListener, access: Access, site: Site) {
    let stopping = site.stopping.clone();
    let routes = guard::demand(access.token, router(site));
    let mut open = JoinSet::new();
    let places = Places::new("HTTP connections", MAX_HTTP_CONNECTIONS);
    let peers = Peers::new("HTTP connections", MAX_HTTP_CONNECTIONS_PER_PEER);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopping.cancelled() => break,
            Some(_) = open.join_next() => continue,
            accepted = accept(&listener, &places, &peers) => accepted,
        };
        let connection = converse(
            accepted,
            access.http.clone(),
            routes.clone(),
            stopping.clone(),
        );
        open.spawn(connection);
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

struct Accepted {
    tcp: TcpStream,
    peer: SocketAddr,
    places: (Place, Guest),
}

async fn accept(listener: &TcpListener, places: &Places, peers: &Peers) -> Accepted {
    let place = places.take().await;
    loop {
        match listener.accept().await {
            Ok((tcp, peer)) => {
                if let Some(guest) = peers.admit(peer.ip()) {
                    let places = (place, guest);
                    return Accepted { tcp, peer, places };
                }
            }
            Err(error) => {
                warn!(%error, "the HTTP port takes no connection");
                sleep(AGAIN).await;
            }
        }
    }
}

async fn converse(accepted: Accepted, tls: Acceptor, routes: Router, stopping: CancellationToken) {
    let Accepted { tcp, peer, places } = accepted;
    // An error means that the peer is gone already.
    let _ = tcp.set_nodelay(true);
    let service = service_fn(|request| answer(routes.clone(), Peer(peer), request));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(MAX_HEAD_BYTES);
    let mut connection = pin!(http.serve_connection(TokioIo::new(tls.accept(tcp, peer)), service));
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "an HTTP connection was cut off");
    }
    drop(places);
}

async fn answer(
    routes: Router,
    peer: Peer,
    mut request: Request<Incoming>,
) -> Result<Response, Infallible> {
    request.extensions_mut().insert(peer);
    routes.oneshot(request.map(Body::new)).await
}

// === impl Web ===

impl Web {
    /// When it has ended: after `stopping` or a panic; never, if there was no listener.
    pub(crate) async fn ended(&mut self) {
        let Some(task) = &mut self.0 else {
            return std::future::pending().await;
        };
        // Whether it panicked is of no interest to who waits.
        let _ = task.await;
        self.0 = None;
    }

    /// True if there is something to wait for.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }
}
