//! Pods, reduced to how their containers ended. The parser skips all else, which is never in memory as a
//! whole.

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

/// The longest page and the longest change, in bytes, long strings not counted. etcd refuses objects above
/// 1.5 MiB, and Go's JSON makes them six times as long at most.
const PAGE_LEN: usize = 24 << 20;
const CHANGE_LEN: usize = 16 << 20;

/// For one page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// The server ends a watch after this time; the next one resumes there.
const WATCH_SECONDS: u32 = 290;

/// Bookmarks come every minute; a connection without any for this long is lost.
const IDLE_TIMEOUT: Duration = Duration::from_mins(3);

static LIST: Attempt = Attempt {
    to: "list pods",
    right: "`list` on `pods`",
    quota: "count/pods",
    client: &CONTROLLER,
};
static WATCH: Attempt = Attempt {
    to: "watch pods",
    right: "`watch` on `pods`",
    quota: "count/pods",
    client: &CONTROLLER,
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodStatus {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) node: Option<String>,
    /// Of all lists.
    pub(crate) containers: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContainerStatus {
    pub(crate) list: List,
    /// Unique in the pod.
    pub(crate) name: String,
    /// The instances that have ended: the one before, and the current one.
    pub(crate) ended: Vec<Ended>,
}

/// A list of containers in a pod's spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Containers,
    /// `spec.initContainers`, sidecars among them.
    InitContainers,
    EphemeralContainers,
}

/// An instance of a container that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    /// With its scheme: `containerd://` and 64 hex digits.
    pub(crate) container_id: String,
    /// `OOMKilled`, `Error`, `Completed`, …
    pub(crate) reason: String,
    /// 137 after a SIGKILL.
    pub(crate) exit_code: i32,
    /// To the second.
    pub(crate) started_at: Option<Timestamp>,
    /// To the second.
    pub(crate) finished_at: Option<Timestamp>,
}

/// A page of the list of pods.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) pods: Vec<PodStatus>,
    /// The next page's token; `None` on the last page.
    pub(crate) next: Option<String>,
    /// The version from which to watch after the last page.
    pub(crate) version: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Applied(PodStatus),
    /// With the pod's last status.
    Deleted(PodStatus),
    /// Only the version has changed.
    Bookmark,
}

pub(crate) struct PodStream {
    lines: Pin<Box<dyn AsyncBufRead + Send>>,
    /// The version of the last change returned.
    pub(crate) version: String,
}

// === impl Cluster ===

impl Cluster {
    /// The first page, or the one of token `next`, of `limit` pods. Its whole text is in memory. Tokens expire.
    pub(crate) async fn list_pods(&self, next: Option<&str>, limit: u32) -> Result<Page, ApiError> {
        let mut params = ListParams::default().limit(limit);
        params.continue_token = next.map(str::to_owned);
        let request = Request::new("/api/v1/pods").list(&params);
        let request = request.map_err(|error| LIST.error(kube::Error::BuildRequest(error)))?;
        let answer = LIST.within(PAGE_TIMEOUT, self.client.request_stream(request));
        let text = read::read_all(Box::pin(answer.await?), PAGE_LEN);
        let text = LIST.within(PAGE_TIMEOUT, text).await?;
        let list: WireList = parse(&LIST, &text)?;
        Ok(Page {
            pods: list.items.into_iter().map(WirePod::into_status).collect(),
            next: list.metadata.next.filter(|next| !next.is_empty()),
            version: list.metadata.resource_version,
        })
    }

    /// Changes since `version`.
    pub(crate) async fn watch_pods(&self, version: &str) -> Result<PodStream, ApiError> {
        let params = WatchParams::default().timeout(WATCH_SECONDS);
        let request = Request::new("/api/v1/pods").watch(&params, version);
        let request = request.map_err(|error| WATCH.error(kube::Error::BuildRequest(error)))?;
        let answer = WATCH.within(PAGE_TIMEOUT, self.client.request_stream(request));
        Ok(PodStream {
            lines: Box::pin(answer.await?),
            version: version.to_owned(),
        })
    }
}

// === impl PodStream ===

impl PodStream {
    /// The next change; `None` when the server has ended the watch.
    pub(crate) async fn next(&mut self) -> Result<Option<Change>, ApiError> {
        let line = read::read_line(&mut self.lines, CHANGE_LEN);
        let line = WATCH.within(IDLE_TIMEOUT, line).await?;
        let Some(line) = line else { return Ok(None) };
        let change: WireChange = parse(&WATCH, &line)?;
        let (pod, change): (_, fn(PodStatus) -> Change) = match change {
            WireChange::Added(pod) | WireChange::Modified(pod) => (pod, Change::Applied),
            WireChange::Deleted(pod) => (pod, Change::Deleted),
            WireChange::Bookmark(pod) => (pod, |_| Change::Bookmark),
            WireChange::Error(status) => return Err(WATCH.error(kube::Error::Api(status))),
        };
        self.version.clone_from(&pod.metadata.resource_version);
        Ok(Some(change(pod.into_status())))
    }
}

fn parse<'de, T: Deserialize<'de>>(
    attempt: &'static Attempt,
    text: &'de [u8],
) -> Result<T, ApiError> {
    serde_json::from_slice(text).map_err(|error| attempt.error(CallError::Malformed(error)))
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
    /// The name in a pod's spec.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Containers => "containers",
            Self::InitContainers => "initContainers",
            Self::EphemeralContainers => "ephemeralContainers",
        }
    }
}

// === impl WirePod ===

impl WirePod {
    fn into_status(self) -> PodStatus {
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
                    statuses.map(move |status| status.into_status(list))
                })
                .collect(),
        }
    }
}

// === impl WireContainer ===

impl WireContainer {
    fn into_status(self, list: List) -> ContainerStatus {
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
