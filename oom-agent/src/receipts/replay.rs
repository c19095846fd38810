//! Offers again what an earlier agent has not delivered, unless it is too old.

use std::time::Duration;

use jiff::Timestamp;
use service::clock;

use super::journal::Receipts;
use super::ledger::Undelivered;
use crate::metrics::JournalCounts;
use crate::report::Report;

/// Settles what is too old, or was for a sink that is gone.
pub(super) fn offer_again(
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
