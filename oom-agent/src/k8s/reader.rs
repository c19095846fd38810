//! Reads a pod's annotations and stored container statuses from the API server.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{GetParams, PartialObjectMeta};
use kube::core::Request;
use serde::de::DeserializeOwned;
use service::escape;

use super::draft::is_name;
use super::facts::{bare_id, matches_uid};
use super::pods::LookupError;
use super::wire::{CallError, call_json};
use crate::incident;
use crate::status_check::{Ended, Stored};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest reason kept, in bytes.
const REASON_LEN: usize = 256;

/// Reads one pod at a time. Cheap to clone.
#[derive(Clone)]
pub(crate) struct PodReader {
    client: Client,
}

// === impl PodReader ===

impl PodReader {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Annotations that start with `prefix`, of a pod whose namespace, name and uid are known.
    pub(crate) async fn annotations(
        &self,
        pod: &incident::Pod,
        prefix: &str,
    ) -> Result<BTreeMap<String, String>, LookupError> {
        let request = |pods: Request, name: &str| pods.get_metadata(name, &GetParams::default());
        let metadata = |pod: &PartialObjectMeta<Pod>| pod.metadata.clone();
        let found = self.get(pod, request, metadata).await?;
        let mut all = found.metadata.annotations.unwrap_or_default();
        all.retain(|key, _| key.starts_with(prefix));
        Ok(all)
    }

    /// The statuses that the kubelet has stored for a pod's containers, of all lists: those that run, and the
    /// last two instances of each that have ended.
    pub(crate) async fn stored(&self, pod: &incident::Pod) -> Result<Vec<Stored>, LookupError> {
        let request = |pods: Request, name: &str| pods.get(name, &GetParams::default());
        let found = self
            .get(pod, request, |pod: &Pod| pod.metadata.clone())
            .await?;
        let status = found.status.unwrap_or_default();
        let lists = [
            status.container_statuses,
            status.init_container_statuses,
            status.ephemeral_container_statuses,
        ];
        Ok(lists
            .into_iter()
            .flatten()
            .flatten()
            .flat_map(stored_statuses)
            .collect())
    }

    async fn get<T: DeserializeOwned>(
        &self,
        pod: &incident::Pod,
        request: impl Fn(Request, &str) -> Result<http::Request<Vec<u8>>, kube::core::request::Error>,
        metadata: impl Fn(&T) -> ObjectMeta,
    ) -> Result<T, LookupError> {
        let (Some(namespace), Some(name), Some(uid)) = (&pod.namespace, &pod.name, &pod.uid) else {
            return Err(LookupError::Gone);
        };
        // They become part of a URL.
        if !is_name(namespace) || !is_name(name) {
            return Err(LookupError::Gone);
        }
        let pods = Request::new(format!("/api/v1/namespaces/{namespace}/pods"));
        let answer: Result<T, CallError> =
            call_json(&self.client, request(pods, name), REQUEST_TIMEOUT).await;
        let found = answer.map_err(|error| match error.code() {
            Some(403) => LookupError::Forbidden,
            Some(404) => LookupError::Gone,
            _ => LookupError::Call(error),
        })?;
        if !matches_uid(&metadata(&found), uid) {
            return Err(LookupError::Replaced);
        }
        Ok(found)
    }
}

fn stored_statuses(status: ContainerStatus) -> Vec<Stored> {
    let ended = [status.state.clone(), status.last_state];
    let ended = ended.into_iter().filter_map(|state| state?.terminated);
    let ended = ended.filter_map(|ended| {
        Some(Stored {
            container_id: bare_id(ended.container_id.as_deref()?)?,
            ended: Some(Ended {
                reason: escape::truncate(&ended.reason.unwrap_or_default(), REASON_LEN).to_owned(),
                exit_code: ended.exit_code,
                finished: ended.finished_at.map(|time| time.0),
            }),
        })
    });
    let runs = status.state.is_some_and(|state| state.running.is_some());
    let running = status.container_id.filter(|_| runs);
    let running = running.and_then(|id| {
        Some(Stored {
            container_id: bare_id(&id)?,
            ended: None,
        })
    });
    ended.chain(running).collect()
}
