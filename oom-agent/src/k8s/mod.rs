//! The API server: who the agent is there, and the Events it writes. The only room that names kube.

mod credentials;
mod error;
mod event;

#[cfg(test)]
mod tests;

use std::time::Duration;

use k8s_openapi::api::events::v1::Event;
use kube::api::PostParams;
use kube::{Api, Client};

pub use credentials::{Credentials, Source, find};
pub use error::{CredentialsError, RecordError};

use crate::incident::Incident;

/// What the API server is given to answer one request.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes one Event for each incident that has a pod.
#[derive(Clone)]
pub struct Recorder {
    client: Client,
    /// This agent, in the Event's `reportingInstance`.
    instance: String,
}

/// What became of an incident at the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// The Event stands.
    Created,
    /// It stood already: an earlier request had come through, though its answer had not.
    AlreadyThere,
    /// There is no pod to write it on.
    NoPod,
}

// === impl Recorder ===

impl Recorder {
    /// Connects when first used. `instance` tells this agent from those of other nodes.
    pub fn new(credentials: Credentials, instance: String) -> Result<Self, CredentialsError> {
        Ok(Self {
            client: credentials.client()?,
            instance,
        })
    }

    #[cfg(test)]
    fn with_client(client: Client, instance: &str) -> Self {
        Self {
            client,
            instance: instance.to_owned(),
        }
    }

    /// One attempt. The name of the Event follows from the incident, so a retry makes no second one.
    pub async fn record(&self, incident: &Incident) -> Result<Recorded, RecordError> {
        let Some((namespace, event)) = event::on_pod(incident, &self.instance) else {
            return Ok(Recorded::NoPod);
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let params = PostParams::default();
        let created = tokio::time::timeout(PATIENCE, api.create(&params, &event));
        match created.await {
            Err(_) => Err(RecordError::Slow { patience: PATIENCE }),
            Ok(Ok(_)) => Ok(Recorded::Created),
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Ok(Recorded::AlreadyThere),
            Ok(Err(error)) => Err(RecordError::from_kube(error, namespace)),
        }
    }
}
