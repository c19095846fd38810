//! Looks pods up in the API server one by one: never a watch.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use kube::Client;
use kube::api::{GetParams, ListParams};
use kube::core::Request;
use serde::Deserialize;
use service::error_chain::chain;
use service::escape;

use super::draft::{Subject, valid_names};
use super::make_room;
use super::pod::{ContainerStatus, Metadata, Pod, bare_id};
use super::wire::{CallError, Prepared, call_json, within};
use crate::incident;
use crate::status_check::{Ended, Stored};
use crate::warn;

/// For one pod.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);

/// For the list of the node's pods: without the name there is no Event on the pod.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a pod is kept.
const TTL: Duration = Duration::from_mins(1);

/// How long the list of the node's pods is kept: many kills may wait for it at once.
const LIST_TTL: Duration = Duration::from_secs(5);

const MAX_PODS: usize = 256;

/// Before a request that was forbidden is tried again.
const FORBIDDEN_PAUSE: Duration = Duration::from_mins(5);

/// The longest reason kept, in bytes.
const REASON_LEN: usize = 256;

/// A pod that was not found. `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
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

impl From<CallError> for LookupError {
    fn from(error: CallError) -> Self {
        match error.code() {
            Some(403) => Self::Forbidden,
            Some(404) => Self::Gone,
            _ => Self::Call(error),
        }
    }
}

/// Reads a pod's annotations and stored container statuses. Cheap to clone.
#[derive(Clone)]
pub(crate) struct PodReader {
    pub(super) client: Client,
}

/// A request for one pod, or for its metadata only.
type GetPod = fn(&Request, &str, &GetParams) -> Prepared;

// === impl PodReader ===

impl PodReader {
    /// The agent's annotations of a pod whose namespace, name and uid are known.
    pub(crate) async fn annotations(
        &self,
        pod: &incident::Pod,
    ) -> Result<BTreeMap<String, String>, LookupError> {
        let found = self.find(pod, Request::get_metadata).await?;
        let mut all = found.metadata.annotations;
        all.retain(|key, _| key.starts_with(warn::PREFIX));
        Ok(all)
    }

    /// The statuses that the kubelet has stored for a pod's containers, of all lists: those that run, and the
    /// last two instances of each that have ended.
    pub(crate) async fn stored(&self, pod: &incident::Pod) -> Result<Vec<Stored>, LookupError> {
        let found = self.find(pod, Request::get).await?;
        let statuses = found.container_statuses();
        Ok(statuses
            .flat_map(|(_, status)| stored_statuses(status))
            .collect())
    }

    async fn find(&self, pod: &incident::Pod, get: GetPod) -> Result<Pod, LookupError> {
        let (namespace, name) = valid_names(pod).ok_or(LookupError::Gone)?;
        let uid = pod.uid.as_deref().ok_or(LookupError::Gone)?;
        let found = get_pod(&self.client, namespace, name, get).await?;
        if !found.has_uid(uid) {
            return Err(LookupError::Replaced);
        }
        Ok(found)
    }
}

async fn get_pod(
    client: &Client,
    namespace: &str,
    name: &str,
    get: GetPod,
) -> Result<Pod, CallError> {
    let pods = Request::new(format!("/api/v1/namespaces/{namespace}/pods"));
    let request = get(&pods, name, &GetParams::default());
    within(LOOKUP_TIMEOUT, call_json(client, request)).await
}

fn stored_statuses(status: &ContainerStatus) -> impl Iterator<Item = Stored> {
    let ended = status.ended().filter_map(|ended| {
        Some(Stored {
            container_id: bare_id(&ended.container_id)?.to_owned(),
            ended: Some(Ended {
                reason: escape::truncate(&ended.reason, REASON_LEN).to_owned(),
                exit_code: ended.exit_code,
                finished: ended.finished_at,
            }),
        })
    });
    let running = status.running_id().and_then(bare_id);
    ended.chain(running.map(|id| Stored {
        container_id: id.to_owned(),
        ended: None,
    }))
}

/// Looks pods up and keeps the results for a while.
pub(super) struct Pods {
    client: Client,
    node: String,
    /// By namespace and name.
    kept: HashMap<(String, String), (Instant, Pod)>,
    list: Option<(Instant, PodNames)>,
    forbidden_at: Option<Instant>,
}

/// The node's pods, by their metadata only.
#[derive(Deserialize)]
struct PodNames {
    items: Vec<Pod>,
}

// === impl Pods ===

impl Pods {
    pub(super) fn new(client: Client, node: String) -> Self {
        Self {
            client,
            node,
            kept: HashMap::new(),
            list: None,
            forbidden_at: None,
        }
    }

    /// The subject's pod, if the node calls it by its uid. One that was kept must have the container, by name or
    /// by id: ephemeral containers come later than the pod, and ids when the kubelet reports them.
    pub(super) async fn read_pod(&mut self, subject: &Subject) -> Result<Pod, LookupError> {
        let (namespace, name) = valid_names(&subject.pod).ok_or(LookupError::Gone)?;
        let key = (namespace.to_owned(), name.to_owned());
        let now = Instant::now();
        let uid = subject.pod.uid.as_deref();
        let is_same = |pod: &Pod| uid.is_none_or(|uid| pod.has_uid(uid));
        let container = subject.container.as_ref();
        if let Some((at, pod)) = self.kept.get(&key)
            && now.duration_since(*at) < TTL
            && is_same(pod)
            && container.is_none_or(|container| pod.has_container(container))
        {
            return Ok(pod.clone());
        }
        self.check_allowed(now)?;
        let found = get_pod(&self.client, namespace, name, Request::get).await;
        let pod = found.map_err(|error| self.record_error(error, now))?;
        if !is_same(&pod) {
            return Err(LookupError::Replaced);
        }
        make_room(&mut self.kept, MAX_PODS, |(at, _)| *at);
        self.kept.insert(key, (now, pod.clone()));
        Ok(pod)
    }

    /// Namespace and name of the pod that the node calls `uid`.
    pub(super) async fn find_name(&mut self, uid: &str) -> Result<(String, String), LookupError> {
        let now = Instant::now();
        let kept = self.list.take();
        let kept = kept.filter(|(at, _)| now.duration_since(*at) < LIST_TTL);
        let list = if let Some(kept) = kept {
            kept
        } else {
            self.check_allowed(now)?;
            let list = self.list_node_pods().await;
            (now, list.map_err(|error| self.record_error(error, now))?)
        };
        let (_, list) = self.list.insert(list);
        let found = list.items.iter().find(|pod| pod.has_uid(uid));
        let Metadata {
            namespace, name, ..
        } = &found.ok_or(LookupError::Gone)?.metadata;
        Ok((namespace.clone(), name.clone()))
    }

    async fn list_node_pods(&self) -> Result<PodNames, CallError> {
        // All at once, from the API server's cache, which has an index by node and ignores a limit. A page's
        // limit would make it read the whole cluster's pods from the store.
        let params = ListParams::default()
            .fields(&format!("spec.nodeName={}", self.node))
            .match_any();
        let request = Request::new("/api/v1/pods").list_metadata(&params);
        within(LIST_TIMEOUT, call_json(&self.client, request)).await
    }

    fn check_allowed(&self, now: Instant) -> Result<(), LookupError> {
        match self.forbidden_at {
            Some(at) if now.duration_since(at) < FORBIDDEN_PAUSE => Err(LookupError::Forbidden),
            _ => Ok(()),
        }
    }

    fn record_error(&mut self, error: CallError, now: Instant) -> LookupError {
        if error.code() == Some(403) {
            if self.forbidden_at.is_none() {
                tracing::warn!(
                    error = %chain(&error),
                    "pods may not be read: Events name no owner, and take every container for one of spec.containers; the agent's role needs `get` and `list` on `pods` (see daemonset.yaml)"
                );
            }
            self.forbidden_at = Some(now);
        }
        error.into()
    }
}
