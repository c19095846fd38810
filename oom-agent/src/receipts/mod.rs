//! Keeps track of deliveries, so that each kill is reported exactly once, also over restarts of the agent.
//!
//! 1. Its records are in pinned maps ([`Pinned`]) from when they leave the ring.
//! 2. When its line is written, they record that: the next agent writes no second one.
//! 3. The journal records its incident and the sinks that are to deliver it; its records are removed then, or
//!    where the disk takes nothing.
//! 4. Each sink settles its [`Receipts`] when it has delivered the incident or given it up.
//!
//! An agent begins with what the last one has left at each step.

mod journal;
mod ledger;
mod pinned;
mod store;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::mem::take;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use service::clock;
use service::error_chain::chain;

use crate::incident::Incident;
use crate::metrics::JournalCounts;
use crate::report::Report;
use journal::Journal;
use ledger::Undelivered;

pub(crate) use journal::Receipts;
pub(crate) use pinned::Pinned;

/// The incidents that sinks have not delivered. Without a usable directory they do not outlive the agent.
pub(crate) struct Deliveries {
    journal: Option<Journal>,
    left_over: Vec<Undelivered>,
    counts: JournalCounts,
}

// === impl Deliveries ===

impl Deliveries {
    pub(crate) fn open(state: Option<&Path>, counts: &JournalCounts) -> Self {
        let (journal, left_over) = match state.map(|dir| Journal::open(dir, counts.clone())) {
            None => (None, Vec::new()),
            Some(Ok((journal, left_over))) => (Some(journal), left_over),
            Some(Err(error)) => {
                counts.failed.inc();
                tracing::error!(error = %chain(&error), "no state is kept: what is not delivered when the agent ends is lost");
                (None, Vec::new())
            }
        };
        Self {
            journal,
            left_over,
            counts: counts.clone(),
        }
    }

    pub(crate) fn receipts(&self, sink: &str) -> Receipts {
        self.journal
            .as_ref()
            .map(|journal| journal.receipts(sink))
            .unwrap_or_default()
    }

    /// Call before the incident is offered to these sinks. Its records stay pinned until the journal has it or
    /// cannot take it.
    pub(crate) fn record_incident(
        &self,
        incident: &Arc<Incident>,
        sinks: BTreeSet<String>,
        pinned: &Pinned,
    ) {
        let (pinned, stamps) = (pinned.clone(), incident.stamps.clone());
        let settle = move || pinned.settle(&stamps);
        match &self.journal {
            Some(journal) if !sinks.is_empty() => {
                journal.record_incident(sinks, incident, Box::new(settle));
            }
            _ => settle(),
        }
    }

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

    /// Lets the journal write what is queued, for `patience` at most. Every sink must have ended.
    pub(crate) async fn finish(self, patience: Duration) {
        if let Some(journal) = self.journal {
            journal.finish(patience).await;
        }
    }
}
