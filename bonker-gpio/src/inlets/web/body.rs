//! Reads the body of a request within a deadline. Its route sets the largest size
//! (`DefaultBodyLimit`).

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest as _, Request};
use axum::http::StatusCode;
use tokio::time::timeout;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body is too large")]
    Large,
    #[error("no whole body within {} s", .0.as_secs())]
    Late(Duration),
    #[error("the body broke off")]
    Broken,
}

pub(super) async fn read_body(request: Request, deadline: Duration) -> Result<Bytes, BodyError> {
    match timeout(deadline, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(why)) if why.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(BodyError::Large),
        Ok(Err(_)) => Err(BodyError::Broken),
        Err(_) => Err(BodyError::Late(deadline)),
    }
}

// === impl BodyError ===

impl BodyError {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Large => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Late(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }
}
