//! The connections of HTTP: each has to send the head of a request in time.

use std::convert::Infallible;
use std::io;
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

use super::peer::Peer;
use crate::net::port::{Connection, Port, PortLimits};
use crate::net::tls::Acceptor;

/// Open connections. More wait, unaccepted, until one closes.
const MAX_HTTP_CONNECTIONS: usize = 1024;

/// Open connections from one address. More are closed at once.
pub const MAX_HTTP_CONNECTIONS_PER_PEER: usize = 64;

/// For the head of a first or next request.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// The longest head of a request, in bytes.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// The task that serves HTTP. Dropped, it closes all connections.
pub(crate) struct Web(Option<AbortOnDropHandle<()>>);

/// Limits the connections of `listener`.
pub(crate) fn port(listener: TcpListener, acceptor: Acceptor) -> io::Result<Port> {
    let limits = PortLimits {
        connections: MAX_HTTP_CONNECTIONS,
        per_peer: MAX_HTTP_CONNECTIONS_PER_PEER,
    };
    Port::new("HTTP connections", listener, acceptor, limits)
}

async fn serve(mut port: Port, routes: Router, stopping: CancellationToken) {
    let mut open = JoinSet::new();
    loop {
        let connection = tokio::select! {
            biased;
            () = stopping.cancelled() => break,
            Some(_) = open.join_next() => continue,
            connection = port.accept() => connection,
        };
        open.spawn(serve_connection(
            connection,
            routes.clone(),
            stopping.clone(),
        ));
    }
    drop(port);
    while open.join_next().await.is_some() {}
}

async fn serve_connection(connection: Connection, routes: Router, stopping: CancellationToken) {
    let peer = connection.peer();
    let service = service_fn(|request| add_peer(routes.clone(), Peer(peer), request));
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

async fn add_peer(
    routes: Router,
    peer: Peer,
    mut request: Request<Incoming>,
) -> Result<Response, Infallible> {
    request.extensions_mut().insert(peer);
    routes.oneshot(request.map(Body::new)).await
}

// === impl Web ===

impl Web {
    /// Serves on `port`, if there is one, until `stopping`; answers that are under way then are
    /// finished.
    pub(super) fn start(port: Option<Port>, routes: Router, stopping: &CancellationToken) -> Self {
        let serve = |port| tokio::spawn(serve(port, routes, stopping.clone()));
        Self(port.map(serve).map(AbortOnDropHandle::new))
    }

    /// Resolves after `stopping` or a panic; without a port, never.
    pub(crate) async fn ended(&mut self) {
        let Some(task) = &mut self.0 else {
            return std::future::pending().await;
        };
        // A panic is logged already.
        let _ = task.await;
        self.0 = None;
    }

    pub(crate) fn is_running(&self) -> bool {
        self.0.is_some()
    }
}
