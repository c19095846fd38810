//! Pods as the API server knows them, asked for when an Event is about one: never a watch.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{GetParams, ListParams, PartialObjectMeta};
use kube::core::{ObjectList, Request};
use service::error_chain::chain;

use super::facts::{Facts, answers_to, own_annotations};
use super::wire::{CallError, call_for};
use crate::incident::Container;

/// Given to a lookup that an Event can do without.
const PATIENCE: Duration = Duration::from_secs(1);

/// Given to the list of the node's pods, without which there is no Event on the pod.
const LIST_PATIENCE: Duration = Duration::from_secs(5);

/// Facts are this old at most.
const TTL: Duration = Duration::from_mins(1);

/// The list of the node's pods is this old at most: many kills may wait for it at once.
const LIST_TTL: Duration = Duration::from_secs(5);

/// Pods that are remembered.
const PODS: usize = 256;

/// A missing right is not asked for again before.
const REFUSED: Duration = Duration::from_mins(5);

/// Why the API server told nothing of a pod. `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// It would not.
    #[error(
        "the agent may not read pods: its role needs `get` and `list` on `pods` (see daemonset.yaml)"
    )]
    Forbidden,
    /// It knows none of that name or uid.
    #[error("the pod is gone")]
    Gone,
    /// The one of that name has another uid.
    #[error("another pod has taken its name")]
    Replaced,
    /// It could not be asked.
    #[error("the pod could not be looked up")]
    Call(#[source] CallError),
}

/// The lookups and what they gave.
pub(super) struct Pods {
    client: Client,
    node: String,
    facts: HashMap<(String, String), (Instant, Facts)>,
    /// Of each only what names it.
    list: Option<(Instant, Vec<ObjectMeta>)>,
    refused: Option<Instant>,
}

// === impl Pods ===

impl Pods {
    pub(super) fn new(client: Client, node: String) -> Self {
        Self {
            client,
            node,
            facts: HashMap::new(),
            list: None,
            refused: None,
        }
    }

    /// The pod of that name, if the node calls it `uid`. `container` has to be known to it, by its name or
    /// else by its id: ephemeral containers come later than the pod, and ids when the kubelet reports them.
    pub(super) async fn facts(
        &mut self,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
        container: Option<&Container>,
    ) -> Result<Facts, LookupError> {
        let key = (namespace.to_owned(), name.to_owned());
        let now = Instant::now();
        let fits = |facts: &Facts| {
            uid.is_none_or(|uid| facts.is(uid))
                && container.is_none_or(|container| facts.knows(container))
        };
        if let Some((at, facts)) = self.facts.get(&key)
            && now.duration_since(*at) < TTL
            && fits(facts)
        {
            return Ok(facts.clone());
        }
        self.allowed(now)?;
        let request = Request::new(format!("/api/v1/namespaces/{namespace}/pods"))
            .get(name, &GetParams::default());
        let pod: Pod = match call_for(&self.client, request, PATIENCE).await {
            Ok(pod) => pod,
            Err(error) => return Err(self.failed(error, now)),
        };
        let facts = Facts::read(pod);
        if uid.is_some_and(|uid| !facts.is(uid)) {
            return Err(LookupError::Replaced);
        }
        self.make_room(now);
        self.facts.insert(key, (now, facts.clone()));
        Ok(facts)
    }

    /// Namespace and name of the pod that the node calls `uid`.
    pub(super) async fn named(&mut self, uid: &str) -> Result<(String, String), LookupError> {
        let now = Instant::now();
        let fresh = self.list.as_ref();
        if fresh.is_none_or(|(at, _)| now.duration_since(*at) >= LIST_TTL) {
            self.allowed(now)?;
            self.list = match self.listed().await {
                Ok(list) => Some((now, list)),
                Err(error) => return Err(self.failed(error, now)),
            };
        }
        let list = self.list.as_ref().map_or(&[][..], |(_, list)| list);
        let found = list.iter().find(|pod| answers_to(pod, uid));
        found
            .and_then(|pod| Some((pod.namespace.clone()?, pod.name.clone()?)))
            .ok_or(LookupError::Gone)
    }

    async fn listed(&self) -> Result<Vec<ObjectMeta>, CallError> {
        // From the API server's cache, which has an index by node, and all at once: it takes no limit there.
        // A page's limit would have it read the pods of the whole cluster from the store.
        let params = ListParams::default()
            .fields(&format!("spec.nodeName={}", self.node))
            .match_any();
        let request = Request::new("/api/v1/pods").list_metadata(&params);
        let list: ObjectList<PartialObjectMeta<Pod>> =
            call_for(&self.client, request, LIST_PATIENCE).await?;
        let names = |pod: PartialObjectMeta<Pod>| ObjectMeta {
            name: pod.metadata.name,
            namespace: pod.metadata.namespace,
            uid: pod.metadata.uid,
            annotations: pod.metadata.annotations.map(own_annotations),
            ..ObjectMeta::default()
        };
        Ok(list.items.into_iter().map(names).collect())
    }

    fn allowed(&self, now: Instant) -> Result<(), LookupError> {
        match self.refused {
            Some(at) if now.duration_since(at) < REFUSED => Err(LookupError::Forbidden),
            _ => Ok(()),
        }
    }

    fn failed(&mut self, error: CallError, now: Instant) -> LookupError {
        match error.code() {
            Some(403) => {
                if self.refused.is_none() {
                    tracing::warn!(
                        error = %chain(&error),
                        "pods may not be read: Events name no owner, and take every container for one of spec.containers; the agent's role needs `get` and `list` on `pods` (see daemonset.yaml)"
                    );
                }
                self.refused = Some(now);
                LookupError::Forbidden
            }
            Some(404) => LookupError::Gone,
            _ => LookupError::Call(error),
        }
    }

    fn make_room(&mut self, now: Instant) {
        if self.facts.len() < PODS {
            return;
        }
        self.facts
            .retain(|_, (at, _)| now.duration_since(*at) < TTL);
        if self.facts.len() >= PODS {
            let oldest = self.facts.iter().min_by_key(|(_, (at, _))| *at);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                self.facts.remove(&key);
            }
        }
    }
}
