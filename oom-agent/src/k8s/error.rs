use std::io;
use std::time::Duration;

use service::error_chain::chain;

use super::Source;
use super::pods::LookupError;
use super::refusal::Refusal;
use super::wire::CallError;

/// Why there is no Kubernetes side. `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// They were found and cannot be used.
    #[error("cannot use {from}")]
    Unusable {
        /// Where they were found.
        from: Source,
        /// What kube says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// They name a proxy that cannot be used; it is not shown, as it may hold a password.
    #[error("cannot use the proxy-url of {from}: it is none of http://")]
    Proxy {
        /// Where they were found.
        from: Source,
    },
}

/// What is attempted of the API server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    /// As in `cannot …`.
    pub(super) to: &'static str,
    /// The right that it takes.
    pub(super) right: &'static str,
    pub(super) client: &'static Identity,
}

/// Who asks, for the advice in an error.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) name: &'static str,
    /// Where its role is.
    pub(super) manifest: &'static str,
    /// What a webhook or policy should let through.
    pub(super) exempt: &'static str,
}

/// The node's agent.
pub(super) const AGENT: Identity = Identity {
    name: "agent",
    manifest: "daemonset.yaml",
    exempt: "Events whose reportingComponent is oom-bonker.dev/oom-agent",
};

/// `watch-pods`.
pub(super) const CONTROLLER: Identity = Identity {
    name: "controller",
    manifest: "deploy/controller.yaml",
    exempt: "the controller",
};

/// Why the API server did not do what was attempted. `Display` leaves the source out and says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.summary())]
pub struct ApiError {
    attempt: Attempt,
    /// Where it was attempted, if that is one of many.
    namespace: Option<String>,
    #[source]
    source: CallError,
}

/// Why an Event was not written. `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The API server did not take it.
    #[error(transparent)]
    Api(ApiError),
    /// Neither the runtime nor the API server has told the pod's name yet.
    #[error("the pod's name is not known yet: {reason}")]
    Unnamed {
        /// What the API server said.
        reason: String,
    },
    /// The Event that is to be brought up to date is not written yet.
    #[error("the Event that carries the series is not written yet")]
    Early,
}

// === impl Attempt ===

impl Attempt {
    pub(super) fn failed(self, source: impl Into<CallError>) -> ApiError {
        ApiError {
            attempt: self,
            namespace: None,
            source: source.into(),
        }
    }

    pub(super) fn failed_in(self, namespace: String, source: CallError) -> ApiError {
        ApiError {
            namespace: Some(namespace),
            ..self.failed(source)
        }
    }

    pub(super) async fn within<T, E: Into<CallError>>(
        self,
        patience: Duration,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ApiError> {
        match tokio::time::timeout(patience, answer).await {
            Ok(answer) => answer.map_err(|error| self.failed(error)),
            Err(_) => Err(self.failed(CallError::Slow(patience))),
        }
    }
}

// === impl ApiError ===

impl ApiError {
    fn summary(&self) -> String {
        let Attempt { to, right, client } = self.attempt;
        let Identity {
            name,
            manifest,
            exempt,
        } = client;
        let place = self.namespace.as_ref();
        let place = place.map_or_else(String::new, |it| format!(" in namespace {it}"));
        match self.source.refusal() {
            None if matches!(self.source, CallError::Malformed(_)) => {
                format!("cannot {to}{place}: the answer makes no sense")
            }
            None | Some(Refusal::Busy) => {
                format!("cannot {to}{place}: the API server cannot be reached")
            }
            Some(Refusal::Unauthorized) => format!(
                "cannot {to}{place}: the API server does not accept the {name}'s credentials"
            ),
            Some(Refusal::Forbidden) => format!(
                "the API server refuses to {to}{place}: the {name}'s role needs {right} (see {manifest})"
            ),
            Some(Refusal::Quota) => format!(
                "cannot {to}{place}: the namespace's ResourceQuota has no room for another: raise its `count/…`, or remove it from the quota"
            ),
            Some(Refusal::Denied) => format!(
                "cannot {to}{place}: an admission webhook or policy denies it: exempt {exempt}"
            ),
            Some(Refusal::Later) => format!("the API server failed to {to}{place}"),
            Some(Refusal::Exists | Refusal::Expired | Refusal::Never) => {
                format!("the API server does not {to}{place}")
            }
        }
    }

    /// Whether the same may work later.
    pub fn is_transient(&self) -> bool {
        !matches!(
            self.source.refusal(),
            Some(
                Refusal::Forbidden
                    | Refusal::Quota
                    | Refusal::Denied
                    | Refusal::Exists
                    | Refusal::Never
            )
        )
    }

    /// Whether any other request would fare no better now.
    pub fn is_servers(&self) -> bool {
        self.source.is_servers() || self.source.refusal() == Some(Refusal::Unauthorized)
    }

    /// Whether what is asked for lies too far back: everything has to be listed again (410).
    pub fn is_expired(&self) -> bool {
        self.source.refusal() == Some(Refusal::Expired)
    }

    /// Whether the same answer would come again: it is too long or makes no sense.
    pub fn is_unreadable(&self) -> bool {
        self.is_too_long() || matches!(self.source, CallError::Malformed(_))
    }

    /// Whether there was more than is taken at once.
    pub fn is_too_long(&self) -> bool {
        let CallError::Body(source) = &self.source else {
            return false;
        };
        let source = source.downcast_ref::<io::Error>();
        source.is_some_and(|error| error.kind() == io::ErrorKind::FileTooLarge)
    }
}

// === impl RecordError ===

impl RecordError {
    /// Whether the same Event may be taken later.
    pub fn is_transient(&self) -> bool {
        self.api().is_none_or(ApiError::is_transient)
    }

    /// Whether any other Event would fare no better now.
    pub fn is_servers(&self) -> bool {
        self.api().is_some_and(ApiError::is_servers)
    }

    /// Whether something is only awaited, and nothing failed.
    pub fn is_wait(&self) -> bool {
        self.api().is_none()
    }

    /// When the server wants to be asked again.
    pub fn retry_after(&self) -> Option<Duration> {
        self.api()?.source.retry_after()
    }

    /// Whether what was to be changed is not there.
    pub(super) fn is_gone(&self) -> bool {
        self.api().and_then(|error| error.source.code()) == Some(404)
    }

    pub(super) fn from_lookup(error: LookupError, attempt: Attempt) -> Self {
        match error {
            LookupError::Call(source) if source.is_servers() => Self::Api(attempt.failed(source)),
            error => Self::Unnamed {
                reason: chain(&error).to_string(),
            },
        }
    }

    fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Api(error) => Some(error),
            Self::Unnamed { .. } | Self::Early => None,
        }
    }
}
