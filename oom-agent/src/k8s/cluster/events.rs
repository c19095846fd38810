//! Reads the agents' Events on a pod and creates the controller's.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{self as core, ObjectReference};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{ListParams, PostParams};
use kube::core::Status;
use service::escape;

use super::{ApiError, Cluster, List, REQUEST_TIMEOUT};
use crate::k8s::error::{Attempt, CONTROLLER};
use crate::k8s::event::{REPORTER as AGENT, base_event};
use crate::k8s::refusal::Refusal;

const REPORTER: &str = "oom-bonker.dev/watch-pods";

/// Annotations of the agents' Events.
const CONTAINER_ID: &str = "oom-bonker.dev/container-id";
const POD_API_UID: &str = "oom-bonker.dev/pod-api-uid";

/// More than a pod has: Events live for an hour, and the agents write at most 25, then one in five
/// minutes.
const MAX_EVENTS: u32 = 500;

/// The API server's limits on `message` and a name, in bytes.
const NOTE_LEN: usize = 1024;
const NAME_LEN: usize = 253;

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

/// An Event to create on a container's pod.
#[derive(Clone, Debug)]
pub(crate) struct NewEvent {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    /// The pod's.
    pub(crate) uid: String,
    pub(crate) node: Option<String>,
    /// The list and the container's name in it.
    pub(crate) container: (List, String),
    /// Makes the Event's name unique on the pod; valid in a DNS subdomain.
    pub(crate) suffix: String,
    pub(crate) time: Timestamp,
    pub(crate) reason: &'static str,
    pub(crate) text: String,
    pub(crate) container_id: String,
}

// === impl Cluster ===

impl Cluster {
    /// The agents' Events on that pod, of the last hour.
    pub(crate) async fn list_agent_events(
        &self,
        namespace: &str,
        pod: &str,
    ) -> Result<Vec<AgentEvent>, ApiError> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let selector =
            format!("regarding.kind=Pod,regarding.name={pod},reportingController={AGENT}");
        let params = ListParams::default().fields(&selector).limit(MAX_EVENTS);
        let list = LIST.within(REQUEST_TIMEOUT, api.list(&params)).await?;
        Ok(list.items.into_iter().map(agent_event).collect())
    }

    /// False where it exists already: the name follows from pod and suffix, so that only one replica
    /// creates it.
    pub(crate) async fn create_event(
        &self,
        event: &NewEvent,
        instance: &str,
    ) -> Result<bool, ApiError> {
        let api: Api<core::Event> = Api::namespaced(self.client.clone(), &event.namespace);
        let (params, body) = (PostParams::default(), wire_event(event, instance));
        let written = async {
            match api.create(&params, &body).await {
                Ok(_) => Ok(true),
                Err(kube::Error::Api(status)) if exists(&status) => Ok(false),
                Err(error) => Err(error),
            }
        };
        WRITE.within(REQUEST_TIMEOUT, written).await
    }
}

fn exists(status: &Status) -> bool {
    Refusal::classify(status.code, &status.reason, &status.message) == Refusal::Exists
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

fn wire_event(event: &NewEvent, instance: &str) -> core::Event {
    let suffix = format!(".{}", event.suffix);
    let stem = escape::truncate(&event.pod, NAME_LEN.saturating_sub(suffix.len()));
    // The cut name must still end as a DNS label does.
    let stem = stem.trim_end_matches(['-', '.']);
    let (list, container) = &event.container;
    let text = escape::terminal(&event.text).to_string();
    core::Event {
        metadata: ObjectMeta {
            name: Some(format!("{stem}{suffix}")),
            namespace: Some(event.namespace.clone()),
            annotations: Some([(CONTAINER_ID.to_owned(), event.container_id.clone())].into()),
            ..ObjectMeta::default()
        },
        type_: Some("Warning".to_owned()),
        reason: Some(event.reason.to_owned()),
        action: Some("Kill".to_owned()),
        message: Some(escape::truncate(&text, NOTE_LEN).to_owned()),
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(event.namespace.clone()),
            name: Some(event.pod.clone()),
            uid: Some(event.uid.clone()),
            field_path: Some(format!("spec.{}{{{container}}}", list.as_str())),
            ..ObjectReference::default()
        },
        related: event.node.as_ref().map(|node| ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(node.clone()),
            ..ObjectReference::default()
        }),
        ..base_event(event.time, REPORTER, instance)
    }
}
