use std::io;
use std::time::Duration;

use super::super::error::is_admissions;

/// Why the API server gave nothing. `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// What is asked for lies too far back: everything has to be listed again (410).
    #[error("the API server does not keep that version any more")]
    Expired,
    /// The service account may not.
    #[error(
        "the API server refuses to {attempt}: the controller's role needs {right} (see deploy/controller.yaml)"
    )]
    Forbidden {
        /// What was attempted.
        attempt: &'static str,
        /// The right that it takes.
        right: &'static str,
        /// The server's words.
        #[source]
        source: Box<kube::Error>,
    },
    /// It will not be done, now or later.
    #[error("the API server does not {attempt}")]
    Refused {
        /// What was attempted.
        attempt: &'static str,
        /// The server's words.
        #[source]
        source: Box<kube::Error>,
    },
    /// The server could not be asked, or asks to come again.
    #[error("cannot {attempt}: the API server cannot be reached")]
    Unreachable {
        /// What was attempted.
        attempt: &'static str,
        /// What kube says.
        #[source]
        source: Box<kube::Error>,
    },
    /// No answer in time.
    #[error("cannot {attempt}: no answer within {patience:?}")]
    Slow {
        /// What was attempted.
        attempt: &'static str,
        /// How long it was given.
        patience: Duration,
    },
    /// The answer broke off or is too long.
    #[error("cannot {attempt}: the answer broke off")]
    Broken {
        /// What was attempted.
        attempt: &'static str,
        /// How.
        #[source]
        source: io::Error,
    },
    /// The answer is not what it should be.
    #[error("cannot {attempt}: the answer makes no sense")]
    Malformed {
        /// What was attempted.
        attempt: &'static str,
        /// Where it does not.
        #[source]
        source: serde_json::Error,
    },
}

/// What is attempted, and the right that it takes.
#[derive(Clone, Copy)]
pub(super) struct Attempt {
    pub(super) to: &'static str,
    pub(super) right: &'static str,
}

// === impl ApiError ===

impl ApiError {
    /// Whether the same may work later.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::Forbidden { .. } | Self::Refused { .. })
    }
}

// === impl Attempt ===

impl Attempt {
    pub(super) fn failed(self, error: kube::Error) -> ApiError {
        let attempt = self.to;
        let (code, admitted) = match &error {
            kube::Error::Api(status) => (Some(status.code), !is_admissions(&status.message)),
            _ => (None, true),
        };
        let source = Box::new(error);
        match code {
            Some(410) => ApiError::Expired,
            Some(403) if admitted => ApiError::Forbidden {
                attempt,
                right: self.right,
                source,
            },
            // 401: a token that has just been replaced, or a server that has just started.
            Some(401 | 429 | 500..) | None => ApiError::Unreachable { attempt, source },
            Some(_) => ApiError::Refused { attempt, source },
        }
    }

    pub(super) async fn within<T>(
        self,
        patience: Duration,
        answer: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, ApiError> {
        match tokio::time::timeout(patience, answer).await {
            Ok(answer) => answer.map_err(|error| self.failed(error)),
            Err(_) => Err(ApiError::Slow {
                attempt: self.to,
                patience,
            }),
        }
    }
}
