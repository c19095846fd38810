//! The admin port: `/metrics`, `/live` and `/ready`. Every peer is bounded in time, in what it sends
//! and in how many connections there are; none of them can keep another out.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::convert::Infallible;
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

/// Given to a connection in all, from its first byte to its last: one request, one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Open at once. One more, and the oldest is closed: who is slow does not keep out a probe.
const CONNECTIONS: usize = 16;

/// The longest head of a request, in bytes; the least that hyper takes.
const HEAD_LEN: usize = 8 << 10;

/// After an `accept` that failed (no file descriptors are left), before the next.
const AGAIN: Duration = Duration::from_secs(1);

/// What a peer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `/metrics`
    Metrics,
    /// `/live`
    Live,
    /// `/ready`
    Ready,
}

/// What it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The metrics.
    Metrics {
        /// How the text is written.
        content_type: &'static str,
        /// The text.
        text: String,
    },
    /// Yes.
    Yes,
    /// No, and why: for people.
    No(String),
}

/// `--http-listen` cannot be had. `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: --http-listen takes an address of this host and a free port")]
pub struct ListenError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// Takes the port, if one is wanted. Peers wait in its backlog until it is [served](serve).
pub async fn listen(address: Option<SocketAddr>) -> Result<Option<TcpListener>, ListenError> {
    let Some(address) = address else {
        return Ok(None);
    };
    TcpListener::bind(address)
        .await
        .map(Some)
        .map_err(|source| ListenError { address, source })
}

/// Answers until it is dropped. `evicted` is called for each connection that made room for a newer one.
pub async fn serve<F>(
    listener: TcpListener,
    answer: impl Fn(Asked) -> F + Clone + Send + Sync + 'static,
    evicted: impl Fn(),
) where
    F: Future<Output = Answer> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    open.retain(|connection: &AbortHandle| !connection.is_finished());
                    if open.len() >= CONNECTIONS && let Some(oldest) = open.pop_front() {
                        oldest.abort();
                        evicted();
                    }
                    open.push_back(connections.spawn(converse(stream, answer.clone())));
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin port takes no connection");
                    tokio::time::sleep(AGAIN).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One request and its answer.
async fn converse<F>(stream: TcpStream, answer: impl Fn(Asked) -> F)
where
    F: Future<Output = Answer>,
{
    let service = service_fn(|request| respond(request, &answer));
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_buf_size(HEAD_LEN);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    match timeout(PATIENCE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a peer of the admin port was cut off"),
        Err(_) => tracing::debug!("a peer of the admin port took too long"),
    }
}

async fn respond<F>(
    request: Request<Incoming>,
    answer: impl Fn(Asked) -> F,
) -> Result<Response<String>, Infallible>
where
    F: Future<Output = Answer>,
{
    let asked = match request.uri().path() {
        "/metrics" => Asked::Metrics,
        "/live" => Asked::Live,
        "/ready" => Asked::Ready,
        _ => {
            let paths = "/metrics, /live and /ready are here\n";
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
    Ok(match answer(asked).await {
        Answer::Metrics { content_type, text } => {
            let mut metrics = plain(StatusCode::OK, text);
            let content_type = HeaderValue::from_static(content_type);
            metrics.headers_mut().insert(CONTENT_TYPE, content_type);
            metrics
        }
        Answer::Yes => plain(StatusCode::OK, "yes\n".to_owned()),
        Answer::No(why) => plain(StatusCode::SERVICE_UNAVAILABLE, why + "\n"),
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
