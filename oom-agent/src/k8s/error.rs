use std::io;
use std::time::Duration;

use service::error_chain::chain;
use tokio::task::JoinError;

use super::Source;
use super::credentials::FIND_TIMEOUT;
use super::pods::LookupError;
use super::refusal::Refusal;
use super::wire::{CallError, within};

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    #[error("cannot use {from}")]
    Unusable {
        from: Source,
        #[source]
        source: BoxError,
    },
    /// The URL is not shown: it may hold a password.
    #[error("cannot use the proxy-url of {from}: it must be an http:// URL")]
    Proxy { from: Source },
    #[error("the credentials could not be read within {FIND_TIMEOUT:?}")]
    Timeout,
    #[error("the search for credentials ended badly")]
    Search(#[from] JoinError),
}

/// A kind of request, for its errors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    /// Completes `cannot …`.
    pub(super) to: &'static str,
    /// The right that it needs.
    pub(super) right: &'static str,
    /// The name by which a `ResourceQuota` counts what it creates.
    pub(super) quota: &'static str,
    pub(super) client: &'static ClientRole,
}

/// The program that makes the request, for the advice in an error.
#[derive(Debug)]
pub(super) struct ClientRole {
    pub(super) name: &'static str,
    /// The file with its role.
    pub(super) manifest: &'static str,
    /// What a webhook or policy should exempt.
    pub(super) exempt: &'static str,
}

pub(super) const AGENT: ClientRole = ClientRole {
    name: "agent",
    manifest: "daemonset.yaml",
    exempt: "Events whose reportingComponent is oom-bonker.dev/oom-agent",
};

pub(super) const CONTROLLER: ClientRole = ClientRole {
    name: "controller",
    manifest: "deploy/controller.yaml",
    exempt: "the controller",
};

/// A request that failed. `Display` leaves the source out and has the advice.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.summary())]
pub(crate) struct ApiError {
    attempt: &'static Attempt,
    namespace: Option<String>,
    #[source]
    source: CallError,
}

/// An Event that was not written. `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error(transparent)]
    Api(ApiError),
    #[error("the pod's name is not known yet: {reason}")]
    Unnamed { reason: String },
    /// The Event to update is not written yet.
    #[error("the Event that carries the series is not written yet")]
    Early,
}

// === impl Attempt ===

impl Attempt {
    pub(super) fn error(&'static self, source: CallError) -> ApiError {
        ApiError {
            attempt: self,
            namespace: None,
            source,
        }
    }

    /// The same, for requests to several namespaces.
    pub(super) fn error_in(&'static self, namespace: &str, source: CallError) -> ApiError {
        ApiError {
            namespace: Some(namespace.to_owned()),
            ..self.error(source)
        }
    }

    pub(super) async fn within<T, E: Into<CallError>>(
        &'static self,
        limit: Duration,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ApiError> {
        within(limit, answer)
            .await
            .map_err(|error| self.error(error))
    }
}

// === impl ApiError ===

impl ApiError {
    fn summary(&self) -> String {
        let Attempt { to, client, .. } = self.attempt;
        let place = self.namespace.as_ref();
        let place = place.map_or_else(String::new, |it| format!(" in namespace {it}"));
        match self.source.refusal() {
            None if matches!(self.source, CallError::Malformed(_)) => {
                format!("cannot {to}{place}: the answer makes no sense")
            }
            None if matches!(self.source, CallError::Body(_)) => {
                format!("cannot {to}{place}: the answer cannot be read whole")
            }
            None | Some(Refusal::Busy) => {
                format!("cannot {to}{place}: the API server cannot be reached")
            }
            Some(Refusal::Unauthorized) => format!(
                "cannot {to}{place}: the API server does not accept the {}'s credentials",
                client.name
            ),
            Some(Refusal::Forbidden) => format!(
                "the API server refuses to {to}{place}: the {}'s role needs {} (see {})",
                client.name, self.attempt.right, client.manifest
            ),
            Some(Refusal::Quota) => format!(
                "cannot {to}{place}: the namespace's ResourceQuota has no room for another: raise its `{}`, or remove it from the quota",
                self.attempt.quota
            ),
            Some(Refusal::Denied) => format!(
                "cannot {to}{place}: an admission webhook or policy denies it: exempt {}",
                client.exempt
            ),
            Some(Refusal::Later) => format!("the API server failed to {to}{place}"),
            Some(Refusal::Exists | Refusal::Expired | Refusal::Never) => {
                format!("the API server does not {to}{place}")
            }
        }
    }

    /// Whether a retry may succeed.
    pub(crate) fn is_transient(&self) -> bool {
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

    /// Whether any other request would fail now, too.
    pub(crate) fn is_servers(&self) -> bool {
        self.source.is_servers() || self.source.refusal() == Some(Refusal::Unauthorized)
    }

    /// Whether the version is too old (410): all objects must be listed again.
    pub(crate) fn is_expired(&self) -> bool {
        self.source.refusal() == Some(Refusal::Expired)
    }

    /// Whether a retry would get the same answer, which is too long or malformed.
    pub(crate) fn is_unreadable(&self) -> bool {
        self.is_too_long() || matches!(self.source, CallError::Malformed(_))
    }

    /// Whether the answer was longer than the limit.
    pub(crate) fn is_too_long(&self) -> bool {
        let CallError::Body(source) = &self.source else {
            return false;
        };
        let source = source.downcast_ref::<io::Error>();
        source.is_some_and(|error| error.kind() == io::ErrorKind::FileTooLarge)
    }
}

// === impl RecordError ===

impl RecordError {
    /// Whether a retry may succeed.
    pub(crate) fn is_transient(&self) -> bool {
        self.api()
            .is_none_or(|error| error.is_transient() && !error.is_expired())
    }

    /// Whether any other Event would fail now, too.
    pub(crate) fn is_servers(&self) -> bool {
        self.api().is_some_and(ApiError::is_servers)
    }

    /// Whether no request failed and only something is awaited.
    pub(crate) fn is_wait(&self) -> bool {
        self.api().is_none()
    }

    /// The server's `Retry-After`.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.api()?.source.retry_after()
    }

    /// Whether the object to change does not exist.
    pub(super) fn is_gone(&self) -> bool {
        // With a webhook's own 404 the object may be there.
        self.api().is_some_and(|error| {
            error.source.code() == Some(404) && error.source.refusal() == Some(Refusal::Never)
        })
    }

    pub(super) fn from_lookup(error: LookupError, attempt: &'static Attempt) -> Self {
        match error {
            LookupError::Call(source) if source.is_servers() => Self::Api(attempt.error(source)),
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
