//! An incident as an `events.k8s.io/v1` Event. Pure.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

use crate::escape;
use crate::incident::{Incident, sentence};

/// Who writes these Events, for `kubectl get events --field-selector`.
const CONTROLLER: &str = "oom-bonker.dev/oom-agent";

/// What the API server takes at most, in bytes: `note`, `reportingInstance` and a name.
const NOTE_LEN: usize = 1024;
const INSTANCE_LEN: usize = 128;
const NAME_LEN: usize = 253;

/// The Event on the first victim's pod, and the namespace it lies in.
pub(super) fn on_pod(incident: &Incident, instance: &str) -> Option<(String, Event)> {
    let victim = incident.victims.first()?;
    let pod = victim.pod.as_ref()?;
    let (namespace, name) = (pod.namespace.clone()?, pod.name.clone()?);
    let container = victim
        .container
        .as_ref()
        .and_then(|container| container.name.as_ref());
    let note = escape::terminal(&sentence(incident)).to_string();
    // The pod's name leaves room for what tells this Event from the pod's others.
    let suffix = format!(".{}", incident.id);
    let stem = escape::truncate(&name, NAME_LEN.saturating_sub(suffix.len()));
    // What is cut must still end as a DNS label does.
    let stem = stem.trim_end_matches(['-', '.']);
    let event = Event {
        metadata: ObjectMeta {
            name: Some(format!("{stem}{suffix}")),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        type_: Some("Warning".to_owned()),
        reason: Some("OOMKilled".to_owned()),
        action: Some("Kill".to_owned()),
        note: Some(escape::truncate(&note, NOTE_LEN).to_owned()),
        event_time: Some(MicroTime(incident.time)),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(escape::truncate(instance, INSTANCE_LEN).to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(namespace.clone()),
            name: Some(name),
            uid: pod.uid.clone(),
            field_path: container.map(|name| format!("spec.containers{{{name}}}")),
            ..ObjectReference::default()
        }),
        related: Some(ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(incident.node.clone()),
            ..ObjectReference::default()
        }),
        ..Event::default()
    };
    Some((namespace, event))
}
