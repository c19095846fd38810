//! Pods, cut down to how their containers ended while they are read: what else a pod has is skipped
//! by the parser and never in memory as a whole.

use std::pin::Pin;
use std::time::Duration;

use futures::io::AsyncBufRead;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ListParams, WatchParams};
use kube::core::Request;
use kube::core::response::Status;
use serde::Deserialize;

use super::{ApiError, Cluster, read};
use crate::k8s::error::{Attempt, CONTROLLER};
use crate::k8s::wire::CallError;

/// The longest page and the longest change, in bytes without what is in long strings. etcd takes no object
/// of more than 1.5 MiB, of which Go's JSON makes six times as much at most.
const PAGE_LEN: usize = 24 << 20;
const CHANGE_LEN: usize = 16 << 20;

/// Given to a page.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server ends a watch after this many seconds; the next goes on where it ended.
const WATCH_SECONDS: u32 = 290;

/// Bookmarks come every minute; a server that says nothing for this long has been lost.
const SILENCE: Duration = Duration::from_mins(3);

const LIST: Attempt = Attempt {
    to: "list pods",
    right: "`list` on `pods`",
    client: &CONTROLLER,
};
const WATCH: Attempt = Attempt {
    to: "watch pods",
    right: "`watch` on `pods`",
    client: &CONTROLLER,
};

/// How the containers of a pod stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodStatus {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Where it runs.
    pub node: Option<String>,
    /// Its containers, of all lists.
    pub containers: Vec<ContainerStatus>,
}

/// How a container stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerStatus {
    /// Which of the spec's lists it is in.
    pub list: List,
    /// Its name, the only one of that name in the pod.
    pub name: String,
    /// Instances that have ended: the last before this one, and this one.
    pub ended: Vec<Ended>,
}

/// A list of containers in a pod's spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// `spec.containers`.
    Containers,
    /// `spec.initContainers`, sidecars among them.
    InitContainers,
    /// `spec.ephemeralContainers`.
    EphemeralContainers,
}

/// An instance of a container that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// `containerd://` and 64 hex digits, or what the runtime calls it.
    pub container_id: String,
    /// `OOMKilled`, `Error`, `Completed`, …
    pub reason: String,
    /// 137 after a SIGKILL.
    pub exit_code: i32,
    /// When it was started, to the second.
    pub started_at: Option<Timestamp>,
    /// When it ended, to the second.
    pub finished_at: Option<Timestamp>,
}

/// A page of the list of pods.
#[derive(Debug)]
pub struct Page {
    /// Some of the pods.
    pub pods: Vec<PodStatus>,
    /// Where the next page begins, unless this was the last.
    pub next: Option<String>,
    /// Where a watch goes on from the last page.
    pub version: String,
}

/// A change of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is there, and stands so.
    Applied(PodStatus),
    /// It has gone, and stood so.
    Deleted(PodStatus),
    /// Nothing but time has passed.
    Passed,
}

/// Changes as they come.
pub struct PodStream {
    lines: Pin<Box<dyn AsyncBufRead + Send>>,
    /// Where a watch goes on from what has been given.
    pub version: String,
}

// === impl Cluster ===

impl Cluster {
    /// The first page, or that after `next`, of `limit` pods: its text is in memory at once. A list that
    /// takes too long expires.
    pub async fn list_pods(&self, next: Option<&str>, limit: u32) -> Result<Page, ApiError> {
        let mut params = ListParams::default().limit(limit);
        params.continue_token = next.map(str::to_owned);
        let request = Request::new("/api/v1/pods").list(&params);
        let request = request.map_err(|error| LIST.failed(kube::Error::BuildRequest(error)))?;
        let answer = LIST.within(PATIENCE, self.client.request_stream(request));
        let text = read::whole(Box::pin(answer.await?), PAGE_LEN);
        let text = LIST.within(PATIENCE, text).await?;
        let list: WireList = parse(LIST, &text)?;
        Ok(Page {
            pods: list.items.into_iter().map(WirePod::plain).collect(),
            next: list.metadata.next.filter(|next| !next.is_empty()),
            version: list.metadata.resource_version,
        })
    }

    /// What has changed since `version`.
    pub async fn watch_pods(&self, version: &str) -> Result<PodStream, ApiError> {
        let params = WatchParams::default().timeout(WATCH_SECONDS);
        let request = Request::new("/api/v1/pods").watch(&params, version);
        let request = request.map_err(|error| WATCH.failed(kube::Error::BuildRequest(error)))?;
        let answer = WATCH.within(PATIENCE, self.client.request_stream(request));
        Ok(PodStream {
            lines: Box::pin(answer.await?),
            version: version.to_owned(),
        })
    }
}

// === impl PodStream ===

impl PodStream {
    /// The next change; `None` when the server has ended the watch.
    pub async fn next(&mut self) -> Result<Option<Change>, ApiError> {
        let line = read::line(&mut self.lines, CHANGE_LEN);
        let line = WATCH.within(SILENCE, line).await?;
        let Some(line) = line else { return Ok(None) };
        let change: WireChange = parse(WATCH, &line)?;
        let (pod, change): (_, fn(PodStatus) -> Change) = match change {
            WireChange::Added(pod) | WireChange::Modified(pod) => (pod, Change::Applied),
            WireChange::Deleted(pod) => (pod, Change::Deleted),
            WireChange::Bookmark(pod) => (pod, |_| Change::Passed),
            WireChange::Error(status) => return Err(WATCH.failed(kube::Error::Api(status))),
        };
        self.version.clone_from(&pod.metadata.resource_version);
        Ok(Some(change(pod.plain())))
    }
}

fn parse<'de, T: Deserialize<'de>>(attempt: Attempt, text: &'de [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(text).map_err(|error| attempt.failed(CallError::Malformed(error)))
}

#[derive(Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
enum WireChange {
    Added(WirePod),
    Modified(WirePod),
    Deleted(WirePod),
    Bookmark(WirePod),
    Error(Box<Status>),
}

#[derive(Deserialize)]
struct WireList {
    metadata: WireListMeta,
    items: Vec<WirePod>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireListMeta {
    resource_version: String,
    #[serde(rename = "continue")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct WirePod {
    metadata: WireMeta,
    #[serde(default)]
    spec: WireSpec,
    #[serde(default)]
    status: WireStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMeta {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    resource_version: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSpec {
    node_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireStatus {
    #[serde(rename = "containerStatuses")]
    containers: Option<Vec<WireContainer>>,
    #[serde(rename = "initContainerStatuses")]
    init_containers: Option<Vec<WireContainer>>,
    #[serde(rename = "ephemeralContainerStatuses")]
    ephemeral_containers: Option<Vec<WireContainer>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireContainer {
    name: String,
    state: Option<WireState>,
    last_state: Option<WireState>,
}

#[derive(Deserialize)]
struct WireState {
    terminated: Option<WireEnded>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireEnded {
    #[serde(default, rename = "containerID")]
    container_id: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    exit_code: i32,
    started_at: Option<Time>,
    finished_at: Option<Time>,
}

// === impl List ===

impl List {
    /// Its name in a pod's spec.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Containers => "containers",
            Self::InitContainers => "initContainers",
            Self::EphemeralContainers => "ephemeralContainers",
        }
    }
}

// === impl WirePod ===

impl WirePod {
    fn plain(self) -> PodStatus {
        let status = self.status;
        let lists = [
            (List::InitContainers, status.init_containers),
            (List::Containers, status.containers),
            (List::EphemeralContainers, status.ephemeral_containers),
        ];
        PodStatus {
            namespace: self.metadata.namespace,
            name: self.metadata.name,
            uid: self.metadata.uid,
            node: self.spec.node_name,
            containers: lists
                .into_iter()
                .flat_map(|(list, statuses)| {
                    let statuses = statuses.into_iter().flatten();
                    statuses.map(move |status| status.plain(list))
                })
                .collect(),
        }
    }
}

// === impl WireContainer ===

impl WireContainer {
    fn plain(self, list: List) -> ContainerStatus {
        let states = [self.last_state, self.state].into_iter().flatten();
        ContainerStatus {
            list,
            name: self.name,
            ended: states
                .filter_map(|state| state.terminated)
                .map(|ended| Ended {
                    container_id: ended.container_id,
                    reason: ended.reason,
                    exit_code: ended.exit_code,
                    started_at: ended.started_at.map(|time| time.0),
                    finished_at: ended.finished_at.map(|time| time.0),
                })
                .collect(),
        }
    }
}
