use std::time::Duration;

use super::Source;

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
        source: Box<kube::Error>,
    },
    /// The service account may not.
    #[error(
        "the API server refuses Events in namespace {namespace}: the agent's role needs `create` and `patch` on `events` of events.k8s.io (see daemonset.yaml)"
    )]
    Forbidden {
        /// Where it was to be written.
        namespace: String,
        /// The server's words.
        #[source]
        source: Box<kube::Error>,
    },
    /// The server will not take this Event, now or later.
    #[error("the API server does not take the Event in namespace {namespace}")]
    Refused {
        /// Where it was to be written.
        namespace: String,
        /// The server's words.
        #[source]
        source: Box<kube::Error>,
    },
    /// The server could not be asked, or asks to come again.
    #[error("the API server cannot be reached")]
    Unreachable {
        /// What kube says.
        #[source]
        source: Box<kube::Error>,
    },
    /// No answer in time.
    #[error("the API server did not answer within {patience:?}")]
    Slow {
        /// How long it was given.
        patience: Duration,
    },
}

// === impl RecordError ===

impl RecordError {
    /// Whether the same Event may be taken later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Forbidden { .. } | Self::Refused { .. } => false,
            Self::Unauthorized { .. } | Self::Unreachable { .. } | Self::Slow { .. } => true,
        }
    }

    pub(super) fn from_kube(error: kube::Error, namespace: String) -> Self {
        let (code, terminating) = match &error {
            kube::Error::Api(status) => (
                Some(status.code),
                status.message.contains("being terminated"),
            ),
            _ => (None, false),
        };
        let source = Box::new(error);
        match code {
            Some(401) => Self::Unauthorized { source },
            Some(403) if terminating => Self::Refused { namespace, source },
            Some(403) => Self::Forbidden { namespace, source },
            Some(429 | 500..) | None => Self::Unreachable { source },
            Some(_) => Self::Refused { namespace, source },
        }
    }
}
