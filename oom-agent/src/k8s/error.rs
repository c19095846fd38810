use std::time::Duration;

use service::error_chain::chain;

use super::Source;
use super::event::CONTROLLER;
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

/// Why an Event was not written. `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The server does not know who asks: a token that has just been replaced, or a server that has just started.
    #[error("the API server does not accept the agent's credentials")]
    Unauthorized {
        /// The server's words.
        #[source]
        source: CallError,
    },
    /// The service account may not.
    #[error(
        "the API server refuses Events in namespace {namespace}: the agent's role needs `create` and `patch` on `events` of the core group (see daemonset.yaml)"
    )]
    Forbidden {
        /// Where it was to be written.
        namespace: String,
        /// The server's words.
        #[source]
        source: CallError,
    },
    /// The namespace may have no more Events.
    #[error(
        "the ResourceQuota of namespace {namespace} has no room for another Event: raise its `count/events`, or remove it from the quota"
    )]
    Quota {
        /// Where it was to be written.
        namespace: String,
        /// The server's words.
        #[source]
        source: CallError,
    },
    /// Somebody's webhook or policy has something against it.
    #[error(
        "an admission webhook or policy denies the Event in namespace {namespace}: exempt Events whose reportingComponent is {CONTROLLER}"
    )]
    Denied {
        /// Where it was to be written.
        namespace: String,
        /// The server's words.
        #[source]
        source: CallError,
    },
    /// The server will not take this Event, now or later.
    #[error("the API server does not take the Event in namespace {namespace}")]
    Refused {
        /// Where it was to be written.
        namespace: String,
        /// The server's words.
        #[source]
        source: CallError,
    },
    /// The server could not be asked, or asks to come again.
    #[error("the API server cannot be reached")]
    Unreachable {
        /// What went wrong.
        #[source]
        source: CallError,
    },
    /// The server failed at this Event; others may do better.
    #[error("the API server failed at the Event in namespace {namespace}")]
    Failed {
        /// Where it was to be written.
        namespace: String,
        /// The server's words.
        #[source]
        source: CallError,
    },
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

// === impl RecordError ===

impl RecordError {
    /// Whether the same Event may be taken later.
    pub fn is_transient(&self) -> bool {
        !matches!(
            self,
            Self::Forbidden { .. }
                | Self::Quota { .. }
                | Self::Denied { .. }
                | Self::Refused { .. }
        )
    }

    /// Whether any other Event would fare no better now.
    pub fn is_servers(&self) -> bool {
        matches!(self, Self::Unauthorized { .. } | Self::Unreachable { .. })
    }

    /// Whether something is only awaited, and nobody failed.
    pub fn is_wait(&self) -> bool {
        matches!(self, Self::Unnamed { .. } | Self::Early)
    }

    /// When the server wants to be asked again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unreachable { source } | Self::Failed { source, .. } => source.retry_after(),
            _ => None,
        }
    }

    /// Whether what was to be changed is not there.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if source.code() == Some(404))
    }

    pub(super) fn from_lookup(error: LookupError) -> Self {
        match error {
            LookupError::Call(source) if source.is_servers() => Self::Unreachable { source },
            error => Self::Unnamed {
                reason: chain(&error).to_string(),
            },
        }
    }

    pub(super) fn from_call(source: CallError, namespace: String) -> Self {
        match source.refusal() {
            None | Some(Refusal::Busy) => Self::Unreachable { source },
            Some(Refusal::Unauthorized) => Self::Unauthorized { source },
            Some(Refusal::Forbidden) => Self::Forbidden { namespace, source },
            Some(Refusal::Quota) => Self::Quota { namespace, source },
            Some(Refusal::Denied) => Self::Denied { namespace, source },
            Some(Refusal::Later) => Self::Failed { namespace, source },
            Some(Refusal::Exists | Refusal::Expired | Refusal::Never) => {
                Self::Refused { namespace, source }
            }
        }
    }
}
