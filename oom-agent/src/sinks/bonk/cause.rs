//! What is a reason to bonk, as an item on the wire.

use std::sync::Arc;
use std::time::Duration;

use proto::bonk::{BonkItem, Severity, StreamBonksRequest};
use service::{clock, escape};

use super::SUMMARY_LEN;
use crate::incident::{Container, Incident, Pod, Scope, sentence};
use crate::warn::Warning;
use pressure::Level;

/// A kill that is older is old news: a penguin need not be bonked for it.
pub(super) const STALE: Duration = Duration::from_mins(5);

/// A warning by then is either known or has become a kill.
const STALE_WARNING: Duration = Duration::from_secs(10);

/// As much of a container's id as tells it from others.
const ID_LEN: usize = 12;

/// A reason to bonk.
#[derive(Clone, Debug)]
pub(super) enum Cause {
    Kill(Arc<Incident>),
    Warning(Arc<Warning>),
}

// === impl Cause ===

impl Cause {
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Kill(incident) => &incident.id,
            Self::Warning(warning) => &warning.id,
        }
    }

    /// When the kernel told of it: `CLOCK_MONOTONIC`, in ns.
    pub(super) fn stamp_ns(&self) -> u64 {
        match self {
            Self::Kill(incident) => incident.stamp_ns,
            Self::Warning(warning) => warning.crossing.sample.at_ns,
        }
    }

    pub(super) fn is_warning(&self) -> bool {
        matches!(self, Self::Warning(_))
    }

    /// Whether a penguin may still be bonked for it.
    pub(super) fn is_news(&self) -> bool {
        let age = clock::monotonic_ns().saturating_sub(self.stamp_ns());
        let stale = match self {
            Self::Kill(_) => STALE,
            Self::Warning(_) => STALE_WARNING,
        };
        u128::from(age) < stale.as_nanos()
    }

    pub(super) fn request(&self) -> StreamBonksRequest {
        let item = match self {
            Self::Kill(incident) => of_kill(incident),
            Self::Warning(warning) => of_warning(warning),
        };
        StreamBonksRequest { item: Some(item) }
    }
}

/// A node that ran out of memory is worse than a container at its limit.
fn severity(scope: Scope) -> Severity {
    match scope {
        Scope::Node => Severity::Node,
        Scope::Container
        | Scope::Pod
        | Scope::Nested
        | Scope::Ancestor
        | Scope::Confined
        | Scope::Sysrq
        | Scope::Unknown => Severity::Kill,
    }
}

fn of_kill(incident: &Incident) -> BonkItem {
    let victim = incident.victims.first();
    let whose = (
        victim.and_then(|victim| victim.pod.as_ref()),
        victim.and_then(|victim| victim.container.as_ref()),
    );
    let before = incident.before.as_ref();
    BonkItem {
        time: time(incident.time),
        comm: victim
            .and_then(|victim| victim.comm.clone())
            .unwrap_or_default(),
        severity: severity(incident.scope).into(),
        usage_permille: before.map_or_else(Vec::new, |it| it.permille().collect()),
        verdict: before.map_or_else(String::new, |it| it.pattern.as_str().to_owned()),
        ..item(&incident.id, &incident.node, whose, &sentence(incident))
    }
}

fn of_warning(warning: &Warning) -> BonkItem {
    let whose = (warning.pod.as_ref(), warning.container.as_ref());
    let severity = match warning.crossing.level {
        Level::Warning => Severity::Warning,
        Level::Critical => Severity::Critical,
    };
    BonkItem {
        time: time(warning.time),
        severity: severity.into(),
        ..item(&warning.id, &warning.node, whose, &warning.sentence())
    }
}

fn item(
    id: &str,
    node: &str,
    (pod, container): (Option<&Pod>, Option<&Container>),
    summary: &str,
) -> BonkItem {
    let text = |value: Option<&String>| value.cloned().unwrap_or_default();
    BonkItem {
        id: id.to_owned(),
        source: "oom-agent".to_owned(),
        node: node.to_owned(),
        namespace: text(pod.and_then(|pod| pod.namespace.as_ref())),
        pod: text(pod.and_then(|pod| pod.name.as_ref())),
        container: container.map(called).unwrap_or_default(),
        summary: escape::truncate(summary, SUMMARY_LEN).to_owned(),
        ..BonkItem::default()
    }
}

/// Two containers that nobody has named are two all the same.
fn called(container: &Container) -> String {
    let id = || escape::truncate(&container.id, ID_LEN).to_owned();
    container.name.clone().unwrap_or_else(id)
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "a message in a message is an option on the wire"
)]
fn time(time: jiff::Timestamp) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp {
        seconds: time.as_second(),
        nanos: time.subsec_nanosecond(),
    })
}
