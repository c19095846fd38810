use std::io;
use std::time::Duration;

use crate::k8s::refusal::Refusal;

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
    /// The namespace may have no more of these.
    #[error(
        "cannot {attempt}: its namespace's ResourceQuota has no room for another: raise its `count/…`, or remove it from the quota"
    )]
    Quota {
        /// What was attempted.
        attempt: &'static str,
        /// The server's words.
        #[source]
        source: Box<kube::Error>,
    },
    /// Somebody's webhook or policy has something against it.
    #[error("cannot {attempt}: an admission webhook or policy denies it: exempt the controller")]
    Denied {
        /// What was attempted.
        attempt: &'static str,
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
    /// It failed at this request, and may not at the next.
    #[error("the API server failed to {attempt}")]
    Failed {
        /// What was attempted.
        attempt: &'static str,
        /// The server's words.
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
        !matches!(
            self,
            Self::Forbidden { .. }
                | Self::Quota { .. }
                | Self::Denied { .. }
                | Self::Refused { .. }
        )
    }

    /// Whether there was more than is taken at once.
    pub fn is_too_long(&self) -> bool {
        matches!(self, Self::Broken { source, .. } if source.kind() == io::ErrorKind::FileTooLarge)
    }
}

// === impl Attempt ===

impl Attempt {
    pub(super) fn failed(self, error: kube::Error) -> ApiError {
        let attempt = self.to;
        let refusal = match &error {
            kube::Error::Api(status) => Some(Refusal::classify(
                status.code,
                &status.reason,
                &status.message,
            )),
            _ => None,
        };
        let source = Box::new(error);
        match refusal {
            Some(Refusal::Expired) => ApiError::Expired,
            Some(Refusal::Forbidden) => ApiError::Forbidden {
                attempt,
                right: self.right,
                source,
            },
            Some(Refusal::Quota) => ApiError::Quota { attempt, source },
            Some(Refusal::Denied) => ApiError::Denied { attempt, source },
            Some(Refusal::Later) => ApiError::Failed { attempt, source },
            Some(Refusal::Unauthorized | Refusal::Busy) | None => {
                ApiError::Unreachable { attempt, source }
            }
            Some(Refusal::Exists | Refusal::Never) => ApiError::Refused { attempt, source },
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
