//! What has to hold of a flood. Pure.

use std::collections::BTreeMap;

use super::report::Report;
use super::watch::{BUCKET, MEMORY_MIB, ROOM};
use crate::compare::{Comparison, Event, doubled_events};

/// Every promise.
pub(super) fn judge(
    report: &mut Report,
    comparison: &Comparison,
    events: &[Event],
    (pods, kills_in_pods): (&[String], u64),
) {
    let last = &report.last;
    let checks = &mut report.checks;
    checks.add_equal(
        "kills reported on standard output, each once",
        comparison.once,
        report.incidents.into(),
    );
    let wrong = comparison
        .doubled
        .len()
        .saturating_add(comparison.invented.len());
    checks.add_equal("reported twice or of no kill", wrong as u64, 0);
    checks.add_equal(
        "records lost, lines not written, incidents not reported",
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
        checks.add_equal(what, sink.done(), sink.offered);
    }
    let most = |kind: &str| {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for event in events.iter().filter(|event| event.object.starts_with(kind)) {
            *counts.entry(&event.object).or_default() += 1;
        }
        counts.into_values().max().unwrap_or_default()
    };
    let refills = report.took.as_secs() / 300;
    let bucket = BUCKET.saturating_add(refills).saturating_add(1);
    for (what, found) in [
        (
            "most Events on one pod (at most 25, and one more each 300 s)",
            most("Pod/"),
        ),
        ("Events on the Node (the same)", most("Node/")),
    ] {
        checks.add(what, found.to_string(), (1..=bucket).contains(&found));
    }
    checks.add_equal(
        "kills in pods that their Events count, series included",
        count_on(pods, events),
        kills_in_pods,
    );
    checks.add_equal(
        "incidents with two Events on one object",
        doubled_events(events).len() as u64,
        0,
    );
    let answers: u64 = report.answers.values().sum();
    checks.add(
        "bonks that the bonker answered, some more than once, of those that found room in the queue",
        format!("{answers} of {}", last.sent()),
        answers >= last.sent(),
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

/// Kills that the Events on those objects count.
pub(super) fn count_on(objects: &[String], events: &[Event]) -> u64 {
    let events = events
        .iter()
        .filter(|event| objects.contains(&event.object));
    events.map(|event| event.count).sum()
}
