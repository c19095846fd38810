//! A draft as an Event of the core group, and its requests.
//!
//! `kubectl describe` sorts Events by `lastTimestamp`. `events.k8s.io/v1`, which has the same Events,
//! refuses one with that or a count set: `ValidateEventCreate` in the API server's `events.go`.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use kube::Client;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{Request, request};
use serde_json::json;
use service::escape;

use super::draft::{Draft, Regarding, Subject};
use super::error::{ApiError, Attempt};
use super::pod::{List, Pod};
use super::refusal::Refusal;
use super::wire::{call, within};
use super::{annotations, note};
use crate::report::Report;

/// For `kubectl get events --field-selector`.
pub(super) const REPORTER: &str = "oom-bonker.dev/oom-agent";

/// For one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The API server's limits on `reportingInstance` and a name, in bytes.
const INSTANCE_LEN: usize = 128;
const NAME_LEN: usize = 253;

/// As much of a container's id as makes it unique.
const ID_LEN: usize = 12;

/// A Node has no namespace of its own.
const NODE_EVENTS_NAMESPACE: &str = "default";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamespacedName {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// `None` while the pod has no name. The Event's name follows from the report's id, so that a retry creates no
/// second one.
pub(super) fn build(
    draft: &Draft,
    pod: Result<&Pod, &str>,
    instance: &str,
) -> Option<(NamespacedName, Event)> {
    let node = node_reference(draft.report.node());
    let (namespace, regarding, related) = match &draft.regarding {
        Regarding::Node(_) => (NODE_EVENTS_NAMESPACE.to_owned(), node, None),
        Regarding::Pod(subject) => {
            let namespace = subject.pod.namespace.clone()?;
            (namespace, pod_reference(subject, pod.ok())?, Some(node))
        }
    };
    let key = NamespacedName {
        name: event_name(regarding.name.as_deref()?, &name_suffix(draft)),
        namespace,
    };
    let kind = draft.kind();
    let event = Event {
        metadata: ObjectMeta {
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            annotations: Some(annotations::build(draft, pod)),
            ..ObjectMeta::default()
        },
        type_: Some(kind.event_type.to_owned()),
        reason: Some(kind.reason.to_owned()),
        action: Some(kind.action.to_owned()),
        message: Some(note::message(draft, pod.ok())),
        involved_object: regarding,
        related,
        ..base_event(draft.report.time(), REPORTER, instance)
    };
    Some((key, event))
}

/// With the time, the reporter and the fields for readers of the older API.
pub(super) fn base_event(time: Timestamp, reporter: &str, instance: &str) -> Event {
    Event {
        event_time: Some(MicroTime(time)),
        first_timestamp: Some(Time(time)),
        last_timestamp: Some(Time(time)),
        count: Some(1),
        source: Some(EventSource {
            component: Some(reporter.to_owned()),
            host: None,
        }),
        reporting_component: Some(reporter.to_owned()),
        reporting_instance: Some(escape::truncate(instance, INSTANCE_LEN).to_owned()),
        ..Event::default()
    }
}

fn events_path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/events")
}

/// False where an Event of that name exists already.
pub(super) async fn create(
    client: &Client,
    namespace: &str,
    event: &Event,
    attempt: &'static Attempt,
) -> Result<bool, ApiError> {
    let body = serde_json::to_vec(event).map_err(request::Error::SerializeBody);
    let request = Request::new(events_path(namespace));
    let request = body.and_then(|body| request.create(&PostParams::default(), body));
    match within(REQUEST_TIMEOUT, call(client, request)).await {
        Ok(_) => Ok(true),
        Err(error) if error.refusal() == Some(Refusal::Exists) => Ok(false),
        Err(error) => Err(attempt.error_in(namespace, error)),
    }
}

/// Patches an Event that has occurred `count` times, the last at `observed`.
pub(super) async fn patch_series(
    client: &Client,
    event: &NamespacedName,
    (count, observed): (i32, Timestamp),
    attempt: &'static Attempt,
) -> Result<(), ApiError> {
    let patch = Patch::Merge(json!({
        "count": count, "lastTimestamp": Time(observed),
        "series": {"count": count, "lastObservedTime": MicroTime(observed)},
    }));
    let request = Request::new(events_path(&event.namespace));
    let request = request.patch(&event.name, &PatchParams::default(), &patch);
    let patched = within(REQUEST_TIMEOUT, call(client, request)).await;
    patched.map_err(|error| attempt.error_in(&event.namespace, error))?;
    Ok(())
}

fn pod_reference(subject: &Subject, pod: Option<&Pod>) -> Option<ObjectReference> {
    let container = subject.container.as_ref();
    let name = container.and_then(|container| container.name.as_ref());
    let list = |name| pod.and_then(|pod| pod.container_list(name));
    let uid = pod.and_then(Pod::uid).or(subject.pod.uid.as_deref());
    Some(ObjectReference {
        namespace: subject.pod.namespace.clone(),
        uid: uid.map(str::to_owned),
        field_path: name.map(|name| field_path(list(name).unwrap_or(List::Containers), name)),
        ..reference("Pod", subject.pod.name.as_ref()?)
    })
}

/// As the kubelet refers to its node: `kubectl describe node` matches the uid with the name.
fn node_reference(name: &str) -> ObjectReference {
    ObjectReference {
        uid: Some(name.to_owned()),
        ..reference("Node", name)
    }
}

pub(super) fn reference(kind: &str, name: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some(kind.to_owned()),
        name: Some(name.to_owned()),
        ..ObjectReference::default()
    }
}

pub(super) fn field_path(list: List, container: &str) -> String {
    format!("spec.{}{{{container}}}", <&str>::from(list))
}

/// What makes the Event's name unique on its object.
fn name_suffix(draft: &Draft) -> String {
    let id = draft.report.id();
    match (&draft.report, &draft.regarding) {
        (Report::Mismatch(mismatch), _) => {
            let container = escape::truncate(&mismatch.status.container.id, ID_LEN);
            let verdict = <&str>::from(mismatch.verdict);
            format!(".{id}.{verdict}.{container}")
        }
        // Several containers of a pod may have died in one incident.
        (Report::Incident(_), Regarding::Pod(subject)) if subject.victim > 0 => {
            format!(".{id}.{}", subject.victim)
        }
        // Next to an Event of the Node itself.
        (Report::Incident(_), Regarding::Node(Some(lost))) => format!(".{id}.pod{}", lost.victim),
        _ => format!(".{id}"),
    }
}

/// The suffix is never cut.
pub(super) fn event_name(object: &str, suffix: &str) -> String {
    let stem = escape::truncate(object, NAME_LEN.saturating_sub(suffix.len()));
    // The cut name must still end as a DNS label does.
    let stem = stem.trim_end_matches(['-', '.']);
    format!("{stem}{suffix}")
}
