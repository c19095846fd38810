//! What earlier agents owe is offered once more, if it is still news.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use service::clock;
use service::error_chain::chain;

use crate::journal::{Debt, Journal};
use crate::metrics::JournalCounts;
use crate::report::Report;
use crate::sinks::Sink;

/// Without a directory, or where it cannot be used, nothing outlives the agent.
pub(super) fn open(state: Option<&Path>, counts: &JournalCounts) -> (Option<Journal>, Vec<Debt>) {
    match state.map(|dir| Journal::open(dir, counts.clone())) {
        None => (None, Vec::new()),
        Some(Ok((journal, owed))) => (Some(journal), owed),
        Some(Err(error)) => {
            counts.failed.inc();
            tracing::error!(error = %chain(&error), "no state is kept: what is owed when the agent ends is lost");
            (None, Vec::new())
        }
    }
}

/// To the sinks that it is owed to. What is old, or owed to a sink that is not there any more, is given up.
pub(super) fn offer(
    owed: Vec<Debt>,
    sinks: &[Sink],
    journal: Option<&Journal>,
    counts: &JournalCounts,
) {
    let (now, now_ns) = (Timestamp::now(), clock::monotonic_ns());
    for Debt {
        sinks: names,
        mut incident,
    } in owed
    {
        let age = Duration::try_from(now.duration_since(incident.time)).unwrap_or_default();
        // The stamp may be another boot's.
        let age_ns = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        incident.stamp_ns = now_ns.saturating_sub(age_ns);
        let report = Report::from(incident);
        for name in names {
            let sink = sinks.iter().find(|sink| sink.name() == name);
            if let Some(sink) = sink.filter(|sink| age < sink.replay_for()) {
                counts.again.inc();
                tracing::info!(
                    sink = name,
                    incident = report.id(),
                    "owed by an earlier agent: offered again"
                );
                sink.offer(&report);
            } else if let Some(journal) = journal {
                counts.stale.inc();
                tracing::warn!(
                    sink = name,
                    incident = report.id(),
                    "owed by an earlier agent and too old: given up"
                );
                journal.debts(&name).done(report.id());
            }
        }
    }
}
