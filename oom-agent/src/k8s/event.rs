//! A draft as an Event of the core group. Pure.
//!
//! `kubectl describe` sorts Events by `lastTimestamp`. `events.k8s.io/v1`, which has the same Events,
//! refuses one with that or a count set: `ValidateEventCreate` in the API server's `events.go`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use serde_json::{Value, json};
use service::escape;

use super::draft::{Draft, Regarding, Subject};
use super::facts::{ContainerKind, Facts};
use super::{annotations, note};
use crate::report::Report;
use crate::status_check::MismatchKind;

/// For `kubectl get events --field-selector`.
pub(super) const REPORTER: &str = "oom-bonker.dev/oom-agent";

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
    facts: Result<&Facts, &str>,
    instance: &str,
) -> Option<(NamespacedName, Event)> {
    let node = node_reference(draft.report.node());
    let (namespace, regarding, related) = match &draft.regarding {
        Regarding::Node(_) => (NODE_EVENTS_NAMESPACE.to_owned(), node, None),
        Regarding::Pod(subject) => {
            let namespace = subject.pod.namespace.clone()?;
            (namespace, pod_reference(subject, facts.ok())?, Some(node))
        }
    };
    let key = NamespacedName {
        name: event_name(regarding.name.as_deref()?, draft),
        namespace,
    };
    let event = Event {
        metadata: ObjectMeta {
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            annotations: Some(annotations::build(draft, facts)),
            ..ObjectMeta::default()
        },
        type_: Some(note::event_type(draft).to_owned()),
        reason: Some(note::reason(draft).to_owned()),
        action: Some(note::action(draft).to_owned()),
        message: Some(note::message(draft, facts.ok())),
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

/// Patches an Event that has occurred `count` times, the last at `observed`.
pub(super) fn series_patch(count: i32, observed: Timestamp) -> Value {
    json!({
        "count": count, "lastTimestamp": Time(observed),
        "series": {"count": count, "lastObservedTime": MicroTime(observed)},
    })
}

pub(super) fn events_path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/events")
}

fn pod_reference(subject: &Subject, facts: Option<&Facts>) -> Option<ObjectReference> {
    let pod = &subject.pod;
    let name = subject
        .container
        .as_ref()
        .and_then(|container| container.name.as_ref());
    let kind = |name| facts.and_then(|facts| facts.containers.get(name).copied());
    Some(ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: pod.namespace.clone(),
        name: Some(pod.name.clone()?),
        uid: facts
            .and_then(|facts| facts.uid.clone())
            .or_else(|| pod.uid.clone()),
        field_path: name.map(|name| {
            let list = kind(name).unwrap_or(ContainerKind::Main).list_name();
            format!("spec.{list}{{{name}}}")
        }),
        ..ObjectReference::default()
    })
}

/// As the kubelet refers to its node: `kubectl describe node` matches the uid with the name.
fn node_reference(name: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(name.to_owned()),
        uid: Some(name.to_owned()),
        ..ObjectReference::default()
    }
}

fn event_name(object: &str, draft: &Draft) -> String {
    // Several containers of a pod may have died in one incident.
    let id = draft.report.id();
    let suffix = match (&draft.report, &draft.regarding) {
        (Report::Mismatch(mismatch), _) => {
            let container = escape::truncate(&mismatch.status.container.id, ID_LEN);
            let verdict = match mismatch.verdict {
                MismatchKind::Missed => "missed",
                MismatchKind::Phantom => "phantom",
            };
            format!(".{id}.{verdict}.{container}")
        }
        (Report::Incident(_), Regarding::Pod(subject)) if subject.victim > 0 => {
            format!(".{id}.{}", subject.victim)
        }
        // Next to an Event of the Node itself.
        (Report::Incident(_), Regarding::Node(Some(lost))) => format!(".{id}.pod{}", lost.victim),
        _ => format!(".{id}"),
    };
    // The suffix makes it unique and is never cut.
    let stem = escape::truncate(object, NAME_LEN.saturating_sub(suffix.len()));
    // The cut name must still end as a DNS label does.
    let stem = stem.trim_end_matches(['-', '.']);
    format!("{stem}{suffix}")
}
