//! The accepted connections: none of them to a peer that will not say what it wants.

use std::convert::Infallible;
use std::io;
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
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tower::ServiceExt as _;
use tracing::debug;

use super::guard::Guard;
use super::router::router;
use super::site::Site;
use crate::port::{Connection, Port, PortLimits};
use crate::tls::Acceptor;

/// How many HTTP connections may be open. More wait, unaccepted, until one closes.
pub const MAX_HTTP_CONNECTIONS: usize = 1024;

/// How many HTTP connections one address may have open. More are hung up on.
pub const MAX_HTTP_CONNECTIONS_PER_PEER: usize = 64;

/// A peer has sent the head of its first or next request after this, or is hung up on.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// The longest head of a request, in bytes.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// The web side at work. Dropped, it hangs up on everybody.
pub(crate) struct Web(Option<AbortOnDropHandle<()>>);

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Accepts what `listener` gets, within the bounds of the web side.
pub(crate) fn port(listener: TcpListener, acceptor: Acceptor) -> io::Result<Port> {
    let limits = PortLimits {
        connections: MAX_HTTP_CONNECTIONS,
        per_peer: MAX_HTTP_CONNECTIONS_PER_PEER,
    };
    Port::new("HTTP connections", listener, acceptor, limits)
}

/// Serves on `port`, if there is one, until the site's `stopping`: then it accepts nobody,
/// lets each answer end that is under way, and is done.
pub(crate) fn start(port: Option<Port>, guard: &Guard, site: Site) -> Web {
    let stopping = site.stopping.clone();
    let routes = router(site, guard);
    let serve = |port| AbortOnDropHandle::new(tokio::spawn(serve(port, routes, stopping)));
    Web(port.map(serve))
}

async fn serve(mut port: Port, routes: Router, stopping: CancellationToken) {
    let mut open = JoinSet::new();
    loop {
        let connection = tokio::select! {
            biased;
            () = stopping.cancelled() => break,
            Some(_) = open.join_next() => continue,
            connection = port.next() => connection,
        };
        open.spawn(converse(connection, routes.clone(), stopping.clone()));
    }
    drop(port);
    while open.join_next().await.is_some() {}
}

async fn converse(connection: Connection, routes: Router, stopping: CancellationToken) {
    let peer = connection.peer();
    let service = service_fn(|request| answer(routes.clone(), Peer(peer), request));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(MAX_HEAD_BYTES);
    let mut connection = pin!(http.serve_connection(TokioIo::new(connection), service));
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
