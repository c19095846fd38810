//! Offers again what an earlier agent has not delivered, unless it is too old.

use std::mem::take;
use std::time::Duration;

use jiff::Timestamp;
use service::clock;

use super::Deliveries;
use super::ledger::Undelivered;
use crate::report::Report;

// === impl Deliveries ===

impl Deliveries {
    /// Offers again what earlier agents have not delivered. `offer` gets the sink's name, the report and its
    /// age; it returns false where the report is too old for the sink, or the sink is gone: that is settled.
    pub(crate) fn replay_undelivered(&mut self, offer: impl Fn(&str, &Report, Duration) -> bool) {
        for Undelivered {
            sinks,
            mut incident,
        } in take(&mut self.left_over)
        {
            let age = Duration::try_from(Timestamp::now().duration_since(incident.time));
            let age = age.unwrap_or_default();
            // The stamp may be another boot's.
            let age_ns = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
            incident.stamp_ns = clock::monotonic_ns().saturating_sub(age_ns);
            let report = Report::from(incident);
            for sink in sinks {
                if offer(&sink, &report, age) {
                    self.counts.again.inc();
                    tracing::info!(
                        sink,
                        incident = report.id(),
                        "not delivered by an earlier agent: offered again"
                    );
                } else {
                    self.counts.stale.inc();
                    tracing::warn!(
                        sink,
                        incident = report.id(),
                        "not delivered by an earlier agent and too old: given up"
                    );
                    self.receipts(&sink).settle(report.id());
                }
            }
        }
    }
}
