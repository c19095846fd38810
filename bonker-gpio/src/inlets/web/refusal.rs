//! Why a request is refused, and what all routes that take a body check of it.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest as _, Request};
use axum::http::{HeaderMap, StatusCode, header};
use tokio::time::timeout;

#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// And what to do, for people.
    pub(super) why: String,
}

// === impl Refusal ===

impl Refusal {
    pub(super) fn new(status: StatusCode, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { status, why }
    }
}

pub(super) fn require_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        let why = "send JSON: content-type: application/json";
        Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why))
    }
}

/// Reads the body in time. Its route sets the largest size (`DefaultBodyLimit`); `advice` is how a
/// client keeps to it.
pub(super) async fn read_body(
    request: Request,
    deadline: Duration,
    advice: &str,
) -> Result<Bytes, Refusal> {
    let (status, why) = match timeout(deadline, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => return Ok(body),
        Ok(Err(why)) if why.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            (why.status(), format!("the body is too large: {advice}"))
        }
        Ok(Err(_)) => (StatusCode::BAD_REQUEST, "the body broke off".to_owned()),
        Err(_) => {
            let why = format!("no whole body within {} s", deadline.as_secs());
            (StatusCode::REQUEST_TIMEOUT, why)
        }
    };
    Err(Refusal::new(status, why))
}
