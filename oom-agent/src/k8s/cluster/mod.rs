//! The controller's requests to the API server: pods and their changes, Events, a Lease. Each call is
//! one attempt, bounded in time and size.

mod events;
mod lease;
mod pods;
mod read;

#[cfg(test)]
mod tests;

use std::time::Duration;

use kube::Client;

pub(crate) use events::{AgentEvent, StatusKill};
pub(crate) use lease::Lease;
pub(crate) use pods::Change;

use super::{ApiError, Credentials, CredentialsError};

/// For one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(crate) struct Cluster {
    client: Client,
}

// === impl Cluster ===

impl Cluster {
    /// Connects on first use.
    pub(crate) fn new(credentials: Credentials) -> Result<Self, CredentialsError> {
        Ok(Self {
            client: credentials.client()?,
        })
    }

    /// That of the service account, or of the kubeconfig's context.
    fn namespace(&self) -> &str {
        self.client.default_namespace()
    }
}
