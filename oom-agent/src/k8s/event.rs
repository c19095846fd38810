//! A draft as an Event of the core group. Pure.
//!
//! `kubectl describe` sorts Events by `lastTimestamp`, and `events.k8s.io/v1`, which has the same Events,
//! takes none with that or a count set: `ValidateEventCreate` in the API server's `events.go`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use serde_json::{Value, json};
use service::escape;

use super::draft::{Draft, On, Subject};
use super::facts::{Facts, Kind};
use super::{annotations, note};
use crate::report::Report;
use crate::status_check::MismatchKind;

/// Who writes these Events, for `kubectl get events --field-selector`.
pub(super) const REPORTER: &str = "oom-bonker.dev/oom-agent";

/// What the API server takes at most, in bytes: `reportingInstance` and a name.
const INSTANCE_LEN: usize = 128;
const NAME_LEN: usize = 253;

/// As much of a container's id as tells it from others.
const ID_LEN: usize = 12;

/// Where the Events of a Node lie: it has no namespace of its own.
const NODES: &str = "default";

/// Where an Event lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// `None` while the pod has no name. The Event's own name follows from the id of what it tells, so that a retry makes no second one.
pub(super) fn of(
    draft: &Draft,
    facts: Result<&Facts, &str>,
    instance: &str,
) -> Option<(Place, Event)> {
    let node = node(draft.report.node());
    let (namespace, regarding, related) = match &draft.on {
        On::Node(_) => (NODES.to_owned(), node, None),
        On::Pod(subject) => {
            let namespace = subject.pod.namespace.clone()?;
            (namespace, pod(subject, facts.ok())?, Some(node))
        }
    };
    let place = Place {
        name: name(regarding.name.as_deref()?, draft),
        namespace,
    };
    let event = Event {
        metadata: ObjectMeta {
            name: Some(place.name.clone()),
            namespace: Some(place.namespace.clone()),
            annotations: Some(annotations::of(draft, facts)),
            ..ObjectMeta::default()
        },
        type_: Some(note::kind(draft).to_owned()),
        reason: Some(note::reason(draft).to_owned()),
        action: Some(note::action(draft).to_owned()),
        message: Some(note::note(draft, facts.ok())),
        involved_object: regarding,
        related,
        ..stamped(draft.report.time(), REPORTER, instance)
    };
    Some((place, event))
}

/// An Event of that time and reporter, with all that readers of older Events go by.
pub(super) fn stamped(time: Timestamp, reporter: &str, instance: &str) -> Event {
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

/// A patch of an Event that is counted on: `count` times, the last at `observed`.
pub(super) fn recount(count: i32, observed: Timestamp) -> Value {
    json!({
        "count": count, "lastTimestamp": Time(observed),
        "series": {"count": count, "lastObservedTime": MicroTime(observed)},
    })
}

/// Where Events are created.
pub(super) fn path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/events")
}

fn pod(subject: &Subject, facts: Option<&Facts>) -> Option<ObjectReference> {
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
            let list = kind(name).unwrap_or(Kind::Main).list();
            format!("spec.{list}{{{name}}}")
        }),
        ..ObjectReference::default()
    })
}

/// As the kubelet refers to its own node: `kubectl describe node` looks for its name in place of a uid.
fn node(name: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(name.to_owned()),
        uid: Some(name.to_owned()),
        ..ObjectReference::default()
    }
}

fn name(object: &str, draft: &Draft) -> String {
    // Several containers of a pod may have died in one incident.
    let id = draft.report.id();
    let suffix = match (&draft.report, &draft.on) {
        (Report::Mismatch(mismatch), _) => {
            let container = escape::truncate(&mismatch.status.container.id, ID_LEN);
            let verdict = match mismatch.verdict {
                MismatchKind::Missed => "missed",
                MismatchKind::Phantom => "phantom",
            };
            format!(".{id}.{verdict}.{container}")
        }
        (Report::Incident(_), On::Pod(subject)) if subject.victim > 0 => {
            format!(".{id}.{}", subject.victim)
        }
        // Beside an Event about the Node itself.
        (Report::Incident(_), On::Node(Some(lost))) => format!(".{id}.pod{}", lost.victim),
        _ => format!(".{id}"),
    };
    // The object's name leaves room for what tells this Event from its others.
    let stem = escape::truncate(object, NAME_LEN.saturating_sub(suffix.len()));
    // What is cut must still end as a DNS label does.
    let stem = stem.trim_end_matches(['-', '.']);
    format!("{stem}{suffix}")
}
