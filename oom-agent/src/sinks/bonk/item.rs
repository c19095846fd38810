//! An incident as a bonk.

use proto::bonk::{BonkItem, Severity, StreamBonksRequest};

use super::SUMMARY_LEN;
use crate::escape;
use crate::incident::{Incident, Scope, sentence};

/// A node that ran out of memory is worse than a container at its limit.
fn severity(scope: Scope) -> Severity {
    match scope {
        Scope::Node => Severity::Node,
        Scope::Container | Scope::Pod | Scope::Ancestor | Scope::Sysrq | Scope::Unknown => {
            Severity::Kill
        }
    }
}

pub(super) fn request(incident: &Incident) -> StreamBonksRequest {
    let victim = incident.victims.first();
    let pod = victim.and_then(|victim| victim.pod.as_ref());
    let container = victim.and_then(|victim| victim.container.as_ref());
    let text = |value: Option<&String>| value.cloned().unwrap_or_default();
    let summary = sentence(incident);
    let before = incident.before.as_ref();
    StreamBonksRequest {
        item: Some(BonkItem {
            id: incident.id.clone(),
            time: Some(prost_types::Timestamp {
                seconds: incident.time.as_second(),
                nanos: incident.time.subsec_nanosecond(),
            }),
            source: "oom-agent".to_owned(),
            node: incident.node.clone(),
            namespace: text(pod.and_then(|pod| pod.namespace.as_ref())),
            pod: text(pod.and_then(|pod| pod.name.as_ref())),
            container: text(container.and_then(|container| container.name.as_ref())),
            comm: text(victim.and_then(|victim| victim.comm.as_ref())),
            summary: escape::truncate(&summary, SUMMARY_LEN).to_owned(),
            severity: severity(incident.scope).into(),
            usage_permille: before.map_or_else(Vec::new, |it| it.permille().collect()),
            verdict: before.map_or_else(String::new, |it| it.verdict.as_str().to_owned()),
            ..BonkItem::default()
        }),
    }
}
