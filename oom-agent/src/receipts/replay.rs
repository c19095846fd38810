//! What an earlier agent has not delivered is offered once more, if it is still news.

use std::time::Duration;

use jiff::Timestamp;
use service::clock;

use super::journal::Receipts;
use super::ledger::Undelivered;
use crate::metrics::JournalCounts;
use crate::report::Report;

/// What is old, or was for a sink that is not there any more, is settled unread.
pub(super) fn replay(
    undelivered: Undelivered,
    counts: &JournalCounts,
    offer: impl Fn(&str, &Report, Duration) -> bool,
    receipts: impl Fn(&str) -> Receipts,
) {
    let Undelivered {
        sinks: names,
        mut incident,
    } = undelivered;
    let age = Duration::try_from(Timestamp::now().duration_since(incident.time));
    let age = age.unwrap_or_default();
    // The stamp may be another boot's.
    let age_ns = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
    incident.stamp_ns = clock::monotonic_ns().saturating_sub(age_ns);
    let report = Report::from(incident);
    for name in names {
        if offer(&name, &report, age) {
            counts.again.inc();
            tracing::info!(
                sink = name,
                incident = report.id(),
                "not delivered by an earlier agent: offered again"
            );
        } else {
            counts.stale.inc();
            tracing::warn!(
                sink = name,
                incident = report.id(),
                "not delivered by an earlier agent and too old: given up"
            );
            receipts(&name).settle(report.id());
        }
    }
}
