//! A report as a `BonkItem`. Pure but for the age of a report.

use std::time::Duration;

use proto::bonk::{BonkItem, Severity, StreamBonksRequest};
use service::{clock, escape};

use super::SUMMARY_LEN;
use crate::incident::{Container, Scope};
use crate::report::Report;
use pressure::Level;

/// An older kill is not bonked.
pub(super) const STALE: Duration = Duration::from_mins(5);

/// An older warning has been seen otherwise, or become a kill.
const STALE_WARNING: Duration = Duration::from_secs(10);

/// Whether the report is young enough to be bonked.
pub(super) fn is_news(report: &Report) -> bool {
    let age = clock::monotonic_ns().saturating_sub(report.stamp_ns().unwrap_or_default());
    let stale = match report {
        Report::Warning(_) => STALE_WARNING,
        _ => STALE,
    };
    u128::from(age) < stale.as_nanos()
}

pub(super) fn bonk_request(report: &Report) -> StreamBonksRequest {
    let (pod, container) = report.owner();
    let text = |value: Option<&String>| value.cloned().unwrap_or_default();
    let incident = report.kills();
    let victim = incident.and_then(|incident| incident.victims.first());
    let before = incident.and_then(|incident| incident.before.as_ref());
    let item = BonkItem {
        id: report.id().to_owned(),
        time: wire_time(report.time()),
        source: "oom-agent".to_owned(),
        node: report.node().to_owned(),
        namespace: text(pod.and_then(|pod| pod.namespace.as_ref())),
        pod: text(pod.and_then(|pod| pod.name.as_ref())),
        container: container.map_or("", Container::label).to_owned(),
        summary: escape::truncate(&report.sentence(), SUMMARY_LEN).to_owned(),
        severity: report_severity(report).into(),
        comm: text(victim.and_then(|victim| victim.comm.as_ref())),
        usage_permille: before.map_or_else(Vec::new, |it| it.permille().collect()),
        verdict: before.map_or_else(String::new, |it| it.pattern.as_str().to_owned()),
        ..BonkItem::default()
    };
    StreamBonksRequest { item: Some(item) }
}

/// A node that ran out of memory is worse than a container at its limit.
fn report_severity(report: &Report) -> Severity {
    match report {
        Report::Warning(warning) => match warning.crossing.level {
            Level::Warning => Severity::Warning,
            Level::Critical => Severity::Critical,
        },
        _ if report.incident().is_some_and(|it| it.scope == Scope::Node) => Severity::Node,
        _ => Severity::Kill,
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "a message in a message is an option on the wire"
)]
fn wire_time(time: jiff::Timestamp) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp {
        seconds: time.as_second(),
        nanos: time.subsec_nanosecond(),
    })
}
