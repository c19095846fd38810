//! What has to hold of a flood. Pure.

use std::collections::BTreeSet;

use super::report::Report;
use super::watch::{BUCKET, MEMORY_MIB, ROOM};
use crate::compare::{Comparison, Noted, doubled_events};

/// Every promise.
pub(super) fn judge(
    report: &mut Report,
    comparison: &Comparison,
    events: &[Noted],
    pods: &[String],
) {
    let last = &report.last;
    let checks = &mut report.checks;
    checks.same(
        "kills told on standard output, each once",
        comparison.once,
        report.incidents.into(),
    );
    let wrong = comparison
        .doubled
        .len()
        .saturating_add(comparison.invented.len());
    checks.same("told twice or of no kill", wrong as u64, 0);
    checks.same(
        "records lost, lines not written, incidents untold",
        last.lost,
        0,
    );
    checks.add(
        "drift from the kernel's own count",
        last.drift
            .map_or("unknown".to_owned(), |drift| drift.to_string()),
        last.drift == Some(0),
    );
    for sink in &last.sinks {
        let what = if sink.name == "kubernetes" {
            "Events accounted for (delivered, held back, overflowed, failed, skipped)"
        } else {
            "bonks accounted for"
        };
        checks.same(what, sink.done(), sink.offered);
    }
    let most = |pick: &dyn Fn(&str) -> bool| {
        let objects: BTreeSet<&str> = events
            .iter()
            .map(|event| event.object.as_str())
            .filter(|object| pick(object))
            .collect();
        let of = |object: &&str| {
            events
                .iter()
                .filter(|event| event.object == **object)
                .count()
        };
        objects.iter().map(of).max().unwrap_or_default()
    };
    let refills = report.took.as_secs() / 300;
    let bucket = BUCKET.saturating_add(refills).saturating_add(1);
    for (what, found) in [
        (
            "most Events on one pod (at most 25, and one more each 300 s)",
            most(&|object| object.starts_with("Pod/")),
        ),
        (
            "Events on the Node (the same)",
            most(&|object| object.starts_with("Node/")),
        ),
    ] {
        let found = found as u64;
        checks.add(what, found.to_string(), (1..=bucket).contains(&found));
    }
    checks.same(
        "kills in pods that their Events tell, series included",
        told_on(pods, events),
        u64::from(super::IN_POD).saturating_mul(super::PODS.into()),
    );
    checks.same(
        "incidents with two Events on one object",
        doubled_events(events).len() as u64,
        0,
    );
    checks.add(
        "bonks that the bonker answered, some more than once, of those that found room in the queue",
        format!("{} of {}", report.answers.all(), last.sent()),
        report.answers.all() >= last.sent(),
    );
    checks.add(
        "most that waited in one sink (at most its queue, backlog and flight)",
        report.watch.pending.to_string(),
        report.watch.pending <= ROOM,
    );
    checks.add(
        "peak of the agent's resident memory, in MiB",
        (report.after.peak >> 10).to_string(),
        report.after.peak >> 10 <= MEMORY_MIB,
    );
}

/// Kills that the Events on those objects tell.
pub(super) fn told_on(objects: &[String], events: &[Noted]) -> u64 {
    let told = events
        .iter()
        .filter(|event| objects.contains(&event.object));
    told.map(|event| event.count).sum()
}
