//! One request to the API server: bounded in time and size, and never retried here.

use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Bytes;
use kube::Client;
use kube::client::Body;
use kube::core::response::Status;
use serde::de::DeserializeOwned;
use service::escape;
use tokio::time::timeout;

use super::refusal::Refusal;

/// The longest answer: the metadata of all pods that a node can have.
const ANSWER_LEN: usize = 16 << 20;

/// The longest message of a refusal, in bytes.
const MESSAGE_LEN: usize = 512;

/// A request without a usable answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The server refuses.
    #[error("{code}: {message}")]
    Answer {
        code: u16,
        refusal: Refusal,
        /// There is no such object. The 404 of a proxy or of a wrong path has no reason.
        missing: bool,
        /// The server's, escaped.
        message: String,
        retry_after: Option<Duration>,
    },
    #[error("no connection")]
    Transport(#[source] Box<kube::Error>),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The answer was cut off or is too long.
    #[error("the answer cannot be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the answer makes no sense")]
    Malformed(#[source] serde_json::Error),
}

/// A request as kube builds it.
pub(super) type Prepared = Result<http::Request<Vec<u8>>, kube::core::request::Error>;

/// Waits no longer than `limit`.
pub(super) async fn within<T, E: Into<CallError>>(
    limit: Duration,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, CallError> {
    match timeout(limit, answer).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => Err(CallError::Timeout(limit)),
    }
}

/// Returns the body of a success, which is not read yet.
pub(super) async fn open(client: &Client, request: Prepared) -> Result<Body, CallError> {
    let transport = |error| CallError::Transport(Box::new(error));
    let request = request.map_err(|error| transport(kube::Error::BuildRequest(error)))?;
    let answer = client.send(request.map(Body::from)).await;
    let (head, body) = answer.map_err(transport)?.into_parts();
    if head.status.is_success() {
        return Ok(body);
    }
    Err(refusal_error(&head, &read_all(body).await?))
}

/// Returns the whole body of a success.
pub(super) async fn call(client: &Client, request: Prepared) -> Result<Bytes, CallError> {
    read_all(open(client, request).await?).await
}

/// [`call`] with a JSON answer.
pub(super) async fn call_json<T: DeserializeOwned>(
    client: &Client,
    request: Prepared,
) -> Result<T, CallError> {
    let body = call(client, request).await?;
    serde_json::from_slice(&body).map_err(CallError::Malformed)
}

async fn read_all(body: Body) -> Result<Bytes, CallError> {
    let body = Limited::new(body, ANSWER_LEN).collect().await;
    Ok(body.map_err(CallError::Body)?.to_bytes())
}

fn refusal_error(head: &http::response::Parts, body: &[u8]) -> CallError {
    let header = head.headers.get(http::header::RETRY_AFTER);
    let header = header
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    // A proxy in front of the API server answers in plain text.
    let status = serde_json::from_slice(body).unwrap_or_else(|_| Status {
        message: String::from_utf8_lossy(body.get(..MESSAGE_LEN).unwrap_or(body)).into_owned(),
        ..Status::default()
    });
    CallError::from_status(head.status.as_u16(), &status, header)
}

// === impl CallError ===

impl CallError {
    /// `retry_after` is the header's.
    pub(super) fn from_status(code: u16, status: &Status, retry_after: Option<Duration>) -> Self {
        let Status {
            reason, message, ..
        } = status;
        let details = status.details.as_ref();
        let seconds = details.map(|details| u64::from(details.retry_after_seconds));
        Self::Answer {
            code,
            refusal: Refusal::classify(code, reason, message),
            missing: code == 404 && reason == "NotFound",
            message: escape::terminal(escape::truncate(message.trim(), MESSAGE_LEN)).to_string(),
            retry_after: retry_after.or(seconds
                .filter(|&seconds| seconds > 0)
                .map(Duration::from_secs)),
        }
    }

    /// The HTTP status, where there was an answer.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Answer { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// `None` where there was no answer.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Answer { refusal, .. } => Some(*refusal),
            _ => None,
        }
    }

    /// Whether the request itself is not the cause: too many requests, no server behind the balancer, or no answer
    /// in time.
    pub(crate) fn is_servers(&self) -> bool {
        matches!(self.refusal(), None | Some(Refusal::Busy))
    }

    /// The server's `Retry-After`.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answer { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl From<std::io::Error> for CallError {
    fn from(error: std::io::Error) -> Self {
        Self::Body(Box::new(error))
    }
}
