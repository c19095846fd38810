//! The admin port: `/metrics`, `/live` and `/ready`. Time, request size and number of connections
//! are bounded, so that no peer can keep another out.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use crate::metrics::{self, Counter};

/// For a whole connection: one request, one answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// Open connections. One more closes the oldest: slow peers do not keep a probe out.
const MAX_CONNECTIONS: usize = 16;

/// The longest head of a request, in bytes: the least that hyper allows.
const HEAD_LEN: usize = 8 << 10;

/// After an `accept` that failed, as when no file descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Metrics,
    Live,
    Ready,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Metrics {
        content_type: &'static str,
        text: String,
    },
    Yes,
    /// With the reason.
    No(String),
}

impl From<Result<String, fmt::Error>> for Answer {
    /// Of the result of [`metrics::Metrics::encode`].
    fn from(encoded: Result<String, fmt::Error>) -> Self {
        match encoded {
            Ok(text) => Self::Metrics {
                content_type: metrics::CONTENT_TYPE,
                text,
            },
            Err(fmt::Error) => Self::No("the metrics could not be written".to_owned()),
        }
    }
}

/// `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: --http-listen takes an address of this host and a free port")]
pub(crate) struct ListenError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// Binds `address`, if there is one. Peers wait in the backlog until [`serve`] runs.
pub(crate) async fn listen(
    address: Option<SocketAddr>,
) -> Result<Option<TcpListener>, ListenError> {
    let Some(address) = address else {
        return Ok(None);
    };
    TcpListener::bind(address)
        .await
        .map(Some)
        .map_err(|source| ListenError { address, source })
}

/// Answers until dropped. `evicted` counts connections that are closed for newer ones.
pub(crate) async fn serve<F>(
    listener: TcpListener,
    answer: impl Fn(Endpoint) -> F + Clone + Send + Sync + 'static,
    evicted: Counter,
) where
    F: Future<Output = Answer> + Send + 'static,
{
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "metrics and health are served");
    }
    let mut connections = JoinSet::new();
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    open.retain(|connection: &AbortHandle| !connection.is_finished());
                    if open.len() >= MAX_CONNECTIONS && let Some(oldest) = open.pop_front() {
                        oldest.abort();
                        evicted.inc();
                    }
                    open.push_back(connections.spawn(serve_connection(stream, answer.clone())));
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin port cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection<F>(stream: TcpStream, answer: impl Fn(Endpoint) -> F)
where
    F: Future<Output = Answer>,
{
    let service = service_fn(|request| respond(request, &answer));
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_buf_size(HEAD_LEN);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection of the admin port failed"),
        Err(_) => tracing::debug!("a connection of the admin port timed out"),
    }
}

async fn respond<F>(
    request: Request<Incoming>,
    answer: impl Fn(Endpoint) -> F,
) -> Result<Response<String>, Infallible>
where
    F: Future<Output = Answer>,
{
    let endpoint = match request.uri().path() {
        "/metrics" => Endpoint::Metrics,
        "/live" => Endpoint::Live,
        "/ready" => Endpoint::Ready,
        _ => {
            let paths = "the paths are /metrics, /live and /ready\n";
            return Ok(plain(StatusCode::NOT_FOUND, paths.to_owned()));
        }
    };
    // hyper leaves the body out of the answer to a HEAD.
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, String::new());
        let methods = HeaderValue::from_static("GET, HEAD");
        refusal.headers_mut().insert(ALLOW, methods);
        return Ok(refusal);
    }
    Ok(match answer(endpoint).await {
        Answer::Metrics { content_type, text } => {
            let mut metrics = plain(StatusCode::OK, text);
            let content_type = HeaderValue::from_static(content_type);
            metrics.headers_mut().insert(CONTENT_TYPE, content_type);
            metrics
        }
        Answer::Yes => plain(StatusCode::OK, "yes\n".to_owned()),
        Answer::No(reason) => plain(StatusCode::SERVICE_UNAVAILABLE, reason + "\n"),
    })
}

fn plain(status: StatusCode, text: String) -> Response<String> {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
