//! What a pod asks for by its annotations, as the API server has them now.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{GetParams, PartialObjectMeta};
use kube::core::Request;

use super::draft::is_name;
use super::facts::answers_to;
use super::pods::LookupError;
use super::wire::{CallError, call_for};
use crate::incident;

const PATIENCE: Duration = Duration::from_secs(1);

/// Reads annotations of pods. Cheap to clone.
#[derive(Clone)]
pub struct PodReader {
    client: Client,
}

// === impl PodReader ===

impl PodReader {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Those that begin with `prefix`, of a pod whose namespace, name and uid are known.
    pub async fn annotations(
        &self,
        pod: &incident::Pod,
        prefix: &str,
    ) -> Result<BTreeMap<String, String>, LookupError> {
        let (Some(namespace), Some(name), Some(uid)) = (&pod.namespace, &pod.name, &pod.uid) else {
            return Err(LookupError::Gone);
        };
        // They become part of a URL.
        if !is_name(namespace) || !is_name(name) {
            return Err(LookupError::Gone);
        }
        let request = Request::new(format!("/api/v1/namespaces/{namespace}/pods"))
            .get_metadata(name, &GetParams::default());
        let answer: Result<PartialObjectMeta<Pod>, CallError> =
            call_for(&self.client, request, PATIENCE).await;
        let metadata = answer
            .map_err(|error| match error.code() {
                Some(403) => LookupError::Forbidden,
                Some(404) => LookupError::Gone,
                _ => LookupError::Call(error),
            })?
            .metadata;
        if !answers_to(&metadata, uid) {
            return Err(LookupError::Replaced);
        }
        let mut all = metadata.annotations.unwrap_or_default();
        all.retain(|key, _| key.starts_with(prefix));
        Ok(all)
    }
}
