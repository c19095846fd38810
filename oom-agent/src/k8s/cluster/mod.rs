//! What the controller of the cluster asks of the API server: pods as they come, Events of the agents,
//! an Event of its own, a Lease. Each is one attempt, bounded in time and size.

mod events;
mod lease;
mod pods;
mod read;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

use std::time::Duration;

use kube::Client;

pub use events::{AgentEvent, Note};
pub use lease::Lease;
pub use pods::{Change, ContainerStatus, Ended, List, Page, PodStatus, PodStream};

use super::{ApiError, Credentials, CredentialsError};

/// What the API server is given to answer one request.
const PATIENCE: Duration = Duration::from_secs(5);

/// The whole cluster, as far as its role lets it see.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

// === impl Cluster ===

impl Cluster {
    /// Connects when first used.
    pub fn new(credentials: Credentials) -> Result<Self, CredentialsError> {
        Ok(Self {
            client: credentials.client()?,
        })
    }

    /// The namespace of the service account, or that of the kubeconfig's context.
    pub fn namespace(&self) -> &str {
        self.client.default_namespace()
    }
}
