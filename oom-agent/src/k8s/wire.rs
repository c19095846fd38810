//! One exchange with the API server: bounded in time and size, and never repeated by itself.

use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use kube::Client;
use kube::client::Body;
use kube::core::response::Status;
use serde::de::DeserializeOwned;
use service::escape;
use tokio::time::timeout;

use super::refusal::Refusal;

/// The longest answer taken: the metadata of all pods that a node can have.
const ANSWER_LEN: usize = 16 << 20;

/// The longest refusal taken over, in bytes.
const MESSAGE_LEN: usize = 512;

/// Why an exchange gave nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The server refuses, in its own words.
    #[error("{code}: {message}")]
    Answer {
        /// HTTP status.
        code: u16,
        /// What that means.
        refusal: Refusal,
        /// The server's words, escaped.
        message: String,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// It could not be asked.
    #[error("no connection")]
    Transport(#[source] Box<kube::Error>),
    /// No whole answer in time.
    #[error("no answer within {0:?}")]
    Slow(Duration),
    /// The answer broke off or is too long.
    #[error("the answer cannot be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer is not what it should be.
    #[error("the answer makes no sense")]
    Malformed(#[source] serde_json::Error),
}

/// Sends `request`; gives the body of a success, whole within `patience`.
pub(super) async fn call(
    client: &Client,
    request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    patience: Duration,
) -> Result<Vec<u8>, CallError> {
    let transport = |error| CallError::Transport(Box::new(error));
    let request = request.map_err(|error| transport(kube::Error::BuildRequest(error)))?;
    let exchange = async {
        let answer = client.send(request.map(Body::from)).await;
        let (head, body) = answer.map_err(transport)?.into_parts();
        let body = Limited::new(body, ANSWER_LEN).collect().await;
        let body = body.map_err(CallError::Body)?.to_bytes();
        if head.status.is_success() {
            Ok(body.to_vec())
        } else {
            Err(refusal(&head, &body))
        }
    };
    timeout(patience, exchange)
        .await
        .unwrap_or(Err(CallError::Slow(patience)))
}

/// As [`call`], for an answer in JSON.
pub(super) async fn call_for<T: DeserializeOwned>(
    client: &Client,
    request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    patience: Duration,
) -> Result<T, CallError> {
    let body = call(client, request, patience).await?;
    serde_json::from_slice(&body).map_err(CallError::Malformed)
}

fn refusal(head: &http::response::Parts, body: &[u8]) -> CallError {
    let header = head.headers.get(http::header::RETRY_AFTER);
    let header = header
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    // Whatever stands in front of the API server answers in plain text.
    let status: Option<Status> = serde_json::from_slice(body).ok();
    let details = status.as_ref().and_then(|status| status.details.as_ref());
    let asked = details
        .map(|details| u64::from(details.retry_after_seconds))
        .filter(|&seconds| seconds > 0)
        .map(Duration::from_secs);
    let (reason, message) = status.map_or_else(
        || {
            let start = body.get(..MESSAGE_LEN.min(body.len())).unwrap_or_default();
            (String::new(), String::from_utf8_lossy(start).into_owned())
        },
        |status| (status.reason, status.message),
    );
    let code = head.status.as_u16();
    CallError::Answer {
        code,
        refusal: Refusal::classify(code, &reason, &message),
        message: escape::terminal(escape::truncate(message.trim(), MESSAGE_LEN)).to_string(),
        retry_after: header.or(asked),
    }
}

// === impl CallError ===

impl CallError {
    /// The HTTP status, where there was an answer.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Answer { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// What it means; `None` where there was no answer.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Answer { refusal, .. } => Some(*refusal),
            _ => None,
        }
    }

    /// Whether it is nothing about this request: too many of them, no server behind the balancer, or none in time.
    pub fn is_servers(&self) -> bool {
        matches!(self.refusal(), None | Some(Refusal::Busy))
    }

    /// When the server wants to be asked again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answer { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
