//! The Events of others on a pod, and one of our own.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{self as core, ObjectReference};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{ListParams, PostParams};
use kube::core::Status;
use service::escape;

use super::{ApiError, Cluster, List, PATIENCE};
use crate::k8s::error::{Attempt, CONTROLLER};
use crate::k8s::event::{REPORTER as AGENT, stamped};
use crate::k8s::refusal::Refusal;

/// Who writes these Events.
const REPORTER: &str = "oom-bonker.dev/watch-pods";

/// What the agents tell of a kill for machines.
const CONTAINER_ID: &str = "oom-bonker.dev/container-id";
const POD_API_UID: &str = "oom-bonker.dev/pod-api-uid";

/// Events of one pod that are looked at: Events live for an hour, and the agents write 25 at most, then
/// one in five minutes.
const EVENTS: u32 = 500;

/// What the API server takes at most, in bytes: `message` and a name.
const NOTE_LEN: usize = 1024;
const NAME_LEN: usize = 253;

const LOOK: Attempt = Attempt {
    to: "list the agents' Events",
    right: "`list` on `events` of events.k8s.io",
    client: &CONTROLLER,
};
const WRITE: Attempt = Attempt {
    to: "write an Event",
    right: "`create` on `events` of the core group",
    client: &CONTROLLER,
};

/// An Event that an agent has written on a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentEvent {
    /// The pod's uid in the API, as far as the agent knew it.
    pub pod_uid: Option<String>,
    /// The container's name, from `regarding.fieldPath`.
    pub container: Option<String>,
    /// The container's id as the runtime has it, without scheme.
    pub container_id: Option<String>,
    /// When the kernel killed.
    pub time: Option<Timestamp>,
    /// When it last did, where later kills are counted on this Event.
    pub counted: Option<Timestamp>,
}

/// An Event to be written on a container's pod.
#[derive(Clone, Debug)]
pub struct Note {
    /// Of the pod.
    pub namespace: String,
    /// Of the pod.
    pub pod: String,
    /// Of the pod.
    pub uid: String,
    /// Where it runs.
    pub node: Option<String>,
    /// The list and the container's name in it.
    pub container: (List, String),
    /// What makes the Event's name differ from the pod's others: part of a DNS subdomain.
    pub suffix: String,
    /// When it happened.
    pub time: Timestamp,
    /// `PreviousContainerWasOOMKilled`.
    pub reason: &'static str,
    /// For people.
    pub text: String,
    /// For machines.
    pub container_id: String,
}

// === impl Cluster ===

impl Cluster {
    /// What the nodes' agents have told on that pod in the last hour.
    pub async fn agent_events(
        &self,
        namespace: &str,
        pod: &str,
    ) -> Result<Vec<AgentEvent>, ApiError> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let selector =
            format!("regarding.kind=Pod,regarding.name={pod},reportingController={AGENT}");
        let params = ListParams::default().fields(&selector).limit(EVENTS);
        let list = LOOK.within(PATIENCE, api.list(&params)).await?;
        Ok(list.items.into_iter().map(plain).collect())
    }

    /// Writes it; false where it stood already. Its name follows from pod and suffix, so that of many who write
    /// the same only one does.
    pub async fn write_note(&self, note: &Note, instance: &str) -> Result<bool, ApiError> {
        let api: Api<core::Event> = Api::namespaced(self.client.clone(), &note.namespace);
        let (params, event) = (PostParams::default(), wire(note, instance));
        let written = async {
            match api.create(&params, &event).await {
                Ok(_) => Ok(true),
                Err(kube::Error::Api(status)) if is_there(&status) => Ok(false),
                Err(error) => Err(error),
            }
        };
        WRITE.within(PATIENCE, written).await
    }
}

fn is_there(status: &Status) -> bool {
    Refusal::classify(status.code, &status.reason, &status.message) == Refusal::Exists
}

fn plain(event: Event) -> AgentEvent {
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

fn wire(note: &Note, instance: &str) -> core::Event {
    let suffix = format!(".{}", note.suffix);
    let stem = escape::truncate(&note.pod, NAME_LEN.saturating_sub(suffix.len()));
    // What is cut must still end as a DNS label does.
    let stem = stem.trim_end_matches(['-', '.']);
    let (list, container) = &note.container;
    let text = escape::terminal(&note.text).to_string();
    core::Event {
        metadata: ObjectMeta {
            name: Some(format!("{stem}{suffix}")),
            namespace: Some(note.namespace.clone()),
            annotations: Some([(CONTAINER_ID.to_owned(), note.container_id.clone())].into()),
            ..ObjectMeta::default()
        },
        type_: Some("Warning".to_owned()),
        reason: Some(note.reason.to_owned()),
        action: Some("Kill".to_owned()),
        message: Some(escape::truncate(&text, NOTE_LEN).to_owned()),
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(note.namespace.clone()),
            name: Some(note.pod.clone()),
            uid: Some(note.uid.clone()),
            field_path: Some(format!("spec.{}{{{container}}}", list.as_str())),
            ..ObjectReference::default()
        },
        related: note.node.as_ref().map(|node| ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(node.clone()),
            ..ObjectReference::default()
        }),
        ..stamped(note.time, REPORTER, instance)
    }
}
