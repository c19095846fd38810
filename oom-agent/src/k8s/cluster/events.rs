//! Reads the agents' Events on a pod and creates the controller's.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{self as core, ObjectReference};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::core::{ObjectList, Request};
use service::escape;

use super::{ApiError, Cluster, REQUEST_TIMEOUT};
use crate::k8s::error::{Attempt, CONTROLLER};
use crate::k8s::event::{REPORTER as AGENT, base_event, create, event_name, field_path, reference};
use crate::k8s::note::NOTE_LEN;
use crate::k8s::pod::{Ended, List, bare_id};
use crate::k8s::wire::call_json;

const REPORTER: &str = "oom-bonker.dev/watch-pods";

/// Annotations of the agents' Events.
const CONTAINER_ID: &str = "oom-bonker.dev/container-id";
const POD_API_UID: &str = "oom-bonker.dev/pod-api-uid";

/// More than a pod has: Events live for an hour, and the agents write at most 25, then one in five
/// minutes.
const MAX_EVENTS: u32 = 500;

/// That of kubernetes-oom-event-generator, so that alerts on it keep working.
const REASON: &str = "PreviousContainerWasOOMKilled";

static LIST: Attempt = Attempt {
    to: "list the agents' Events",
    right: "`list` on `events` of events.k8s.io",
    quota: "count/events",
    client: &CONTROLLER,
};
static WRITE: Attempt = Attempt {
    to: "write an Event",
    right: "`create` on `events` of the core group",
    quota: "count/events",
    client: &CONTROLLER,
};

/// An Event that an agent has written on a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AgentEvent {
    /// The pod's uid in the API, if the agent knew it.
    pub(crate) pod_uid: Option<String>,
    /// The container's name, from `regarding.fieldPath`.
    pub(crate) container: Option<String>,
    /// The container's id without its scheme.
    pub(crate) container_id: Option<String>,
    /// When the kernel killed.
    pub(crate) time: Option<Timestamp>,
    /// When it last did, for an Event that counts later kills.
    pub(crate) counted: Option<Timestamp>,
}

/// An OOM kill as a pod's status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StatusKill {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    /// The pod's.
    pub(crate) uid: String,
    pub(crate) node: Option<String>,
    pub(crate) list: List,
    pub(crate) container: String,
    pub(crate) ended: Ended,
    /// That of `ended`.
    pub(crate) finished_at: Timestamp,
}

// === impl StatusKill ===

impl StatusKill {
    /// The container's id without its scheme.
    pub(crate) fn bare_id(&self) -> &str {
        let id = &self.ended.container_id;
        bare_id(id).unwrap_or(id)
    }

    /// `containerd`, `cri-o`, `docker`, …
    pub(crate) fn runtime(&self) -> Option<&str> {
        let (runtime, _) = self.ended.container_id.split_once("://")?;
        Some(runtime)
    }

    /// The same for the same kill in every replica; valid in a DNS subdomain.
    pub(crate) fn id(&self) -> String {
        let part = |text: &str, most: usize| -> String {
            let plain = text.chars().filter(char::is_ascii_alphanumeric).take(most);
            plain.map(|c| c.to_ascii_lowercase()).collect()
        };
        let (uid, container) = (part(&self.uid, 8), part(self.bare_id(), 16));
        let second = self.finished_at.as_second().unsigned_abs();
        format!("k8s-{uid}-{container}-{second}")
    }
}

// === impl Cluster ===

impl Cluster {
    /// The agents' Events on that pod, of the last hour.
    pub(crate) async fn list_agent_events(
        &self,
        namespace: &str,
        pod: &str,
    ) -> Result<Vec<AgentEvent>, ApiError> {
        let selector =
            format!("regarding.kind=Pod,regarding.name={pod},reportingController={AGENT}");
        let params = ListParams::default().fields(&selector).limit(MAX_EVENTS);
        let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
        let list = call_json(&self.client, Request::new(path).list(&params));
        let list: ObjectList<Event> = LIST.within(REQUEST_TIMEOUT, list).await?;
        Ok(list.items.into_iter().map(agent_event).collect())
    }

    /// False where it exists already: the name follows from the kill, so that only one replica creates it.
    pub(crate) async fn create_event(
        &self,
        kill: &StatusKill,
        instance: &str,
    ) -> Result<bool, ApiError> {
        let event = kill_event(kill, instance);
        create(&self.client, &kill.namespace, &event, &WRITE).await
    }
}

fn agent_event(event: Event) -> AgentEvent {
    let annotations = event.metadata.annotations.unwrap_or_default();
    let regarding = event.regarding.unwrap_or_default();
    let path = regarding.field_path.unwrap_or_default();
    let in_braces = path
        .split_once('{')
        .and_then(|(_, rest)| rest.strip_suffix('}'));
    AgentEvent {
        pod_uid: annotations.get(POD_API_UID).cloned().or(regarding.uid),
        container: in_braces.map(str::to_owned),
        container_id: annotations.get(CONTAINER_ID).cloned(),
        time: event.event_time.map(|time| time.0),
        counted: event.series.map(|series| series.last_observed_time.0),
    }
}

/// With the id of the instance that died.
fn kill_event(kill: &StatusKill, instance: &str) -> core::Event {
    let StatusKill {
        namespace,
        pod,
        list,
        container,
        ended,
        ..
    } = kill;
    let text = format!(
        "The previous instance of the container '{container}' ({}) was OOMKilled",
        ended.container_id
    );
    let text = escape::terminal(&text).to_string();
    core::Event {
        metadata: ObjectMeta {
            name: Some(event_name(pod, &format!(".{}", kill.id()))),
            namespace: Some(namespace.clone()),
            annotations: Some([(CONTAINER_ID.to_owned(), kill.bare_id().to_owned())].into()),
            ..ObjectMeta::default()
        },
        type_: Some("Warning".to_owned()),
        reason: Some(REASON.to_owned()),
        action: Some("Kill".to_owned()),
        message: Some(escape::truncate(&text, NOTE_LEN).to_owned()),
        involved_object: ObjectReference {
            namespace: Some(namespace.clone()),
            uid: Some(kill.uid.clone()),
            field_path: Some(field_path(*list, container)),
            ..reference("Pod", pod)
        },
        related: kill.node.as_ref().map(|node| reference("Node", node)),
        ..base_event(kill.finished_at, REPORTER, instance)
    }
}
