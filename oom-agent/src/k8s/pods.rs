//! Looks pods up in the API server when an Event regards one: never a watch.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{GetParams, ListParams, PartialObjectMeta};
use kube::core::{ObjectList, Request};
use service::error_chain::chain;

use super::facts::{Facts, keep_identifying_annotations, matches_uid};
use super::wire::{CallError, call_json};
use crate::incident::Container;

/// For a lookup that an Event can do without.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);

/// For the list of the node's pods: without the name there is no Event on the pod.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long facts are kept.
const TTL: Duration = Duration::from_mins(1);

/// How long the list of the node's pods is kept: many kills may wait for it at once.
const LIST_TTL: Duration = Duration::from_secs(5);

const MAX_PODS: usize = 256;

/// Before a request that was forbidden is tried again.
const FORBIDDEN_PAUSE: Duration = Duration::from_mins(5);

/// A pod that was not found. `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LookupError {
    #[error(
        "the agent may not read pods: its role needs `get` and `list` on `pods` (see daemonset.yaml)"
    )]
    Forbidden,
    #[error("the pod is gone")]
    Gone,
    #[error("another pod has taken its name")]
    Replaced,
    #[error("the pod could not be looked up")]
    Call(#[source] CallError),
}

/// Looks pods up and keeps the results for a while.
pub(super) struct Pods {
    client: Client,
    node: String,
    facts: HashMap<(String, String), (Instant, Facts)>,
    /// Only the metadata that identifies each.
    list: Option<(Instant, Vec<ObjectMeta>)>,
    forbidden_at: Option<Instant>,
}

// === impl Pods ===

impl Pods {
    pub(super) fn new(client: Client, node: String) -> Self {
        Self {
            client,
            node,
            facts: HashMap::new(),
            list: None,
            forbidden_at: None,
        }
    }

    /// The pod of that name, if the node calls it `uid`. Kept facts must have `container`, by name or by id:
    /// ephemeral containers come later than the pod, and ids when the kubelet reports them.
    pub(super) async fn read_facts(
        &mut self,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
        container: Option<&Container>,
    ) -> Result<Facts, LookupError> {
        let key = (namespace.to_owned(), name.to_owned());
        let now = Instant::now();
        let fits = |facts: &Facts| {
            uid.is_none_or(|uid| facts.has_uid(uid))
                && container.is_none_or(|container| facts.has_container(container))
        };
        if let Some((at, facts)) = self.facts.get(&key)
            && now.duration_since(*at) < TTL
            && fits(facts)
        {
            return Ok(facts.clone());
        }
        self.check_allowed(now)?;
        let request = Request::new(format!("/api/v1/namespaces/{namespace}/pods"))
            .get(name, &GetParams::default());
        let pod: Pod = match call_json(&self.client, request, LOOKUP_TIMEOUT).await {
            Ok(pod) => pod,
            Err(error) => return Err(self.classify_error(error, now)),
        };
        let facts = Facts::from_pod(pod);
        if uid.is_some_and(|uid| !facts.has_uid(uid)) {
            return Err(LookupError::Replaced);
        }
        self.make_room(now);
        self.facts.insert(key, (now, facts.clone()));
        Ok(facts)
    }

    /// Namespace and name of the pod that the node calls `uid`.
    pub(super) async fn find_name(&mut self, uid: &str) -> Result<(String, String), LookupError> {
        let now = Instant::now();
        let fresh = self.list.as_ref();
        if fresh.is_none_or(|(at, _)| now.duration_since(*at) >= LIST_TTL) {
            self.check_allowed(now)?;
            self.list = match self.list_node_pods().await {
                Ok(list) => Some((now, list)),
                Err(error) => return Err(self.classify_error(error, now)),
            };
        }
        let list = self.list.as_ref().map_or(&[][..], |(_, list)| list);
        let found = list.iter().find(|pod| matches_uid(pod, uid));
        found
            .and_then(|pod| Some((pod.namespace.clone()?, pod.name.clone()?)))
            .ok_or(LookupError::Gone)
    }

    async fn list_node_pods(&self) -> Result<Vec<ObjectMeta>, CallError> {
        // All at once, from the API server's cache, which has an index by node and ignores a limit. A page's
        // limit would make it read the whole cluster's pods from the store.
        let params = ListParams::default()
            .fields(&format!("spec.nodeName={}", self.node))
            .match_any();
        let request = Request::new("/api/v1/pods").list_metadata(&params);
        let list: ObjectList<PartialObjectMeta<Pod>> =
            call_json(&self.client, request, LIST_TIMEOUT).await?;
        let names = |pod: PartialObjectMeta<Pod>| ObjectMeta {
            name: pod.metadata.name,
            namespace: pod.metadata.namespace,
            uid: pod.metadata.uid,
            annotations: pod.metadata.annotations.map(keep_identifying_annotations),
            ..ObjectMeta::default()
        };
        Ok(list.items.into_iter().map(names).collect())
    }

    fn check_allowed(&self, now: Instant) -> Result<(), LookupError> {
        match self.forbidden_at {
            Some(at) if now.duration_since(at) < FORBIDDEN_PAUSE => Err(LookupError::Forbidden),
            _ => Ok(()),
        }
    }

    fn classify_error(&mut self, error: CallError, now: Instant) -> LookupError {
        match error.code() {
            Some(403) => {
                if self.forbidden_at.is_none() {
                    tracing::warn!(
                        error = %chain(&error),
                        "pods may not be read: Events name no owner, and take every container for one of spec.containers; the agent's role needs `get` and `list` on `pods` (see daemonset.yaml)"
                    );
                }
                self.forbidden_at = Some(now);
                LookupError::Forbidden
            }
            Some(404) => LookupError::Gone,
            _ => LookupError::Call(error),
        }
    }

    fn make_room(&mut self, now: Instant) {
        if self.facts.len() < MAX_PODS {
            return;
        }
        self.facts
            .retain(|_, (at, _)| now.duration_since(*at) < TTL);
        if self.facts.len() >= MAX_PODS {
            let oldest = self.facts.iter().min_by_key(|(_, (at, _))| *at);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                self.facts.remove(&key);
            }
        }
    }
}
