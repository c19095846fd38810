//! Incidents that sinks have not delivered yet, in a file that outlives the agent.
//!
//! A thread writes: nothing else waits for the disk, and what finds no room in its queue is counted. Only a
//! loss of power could lose what was written, so nothing is synced.

use std::collections::BTreeSet;
use std::io;
use std::mem::take;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use service::clock;
use service::error_chain::chain;
use tokio::time::timeout;

use super::Pinned;
use super::ledger::{Ledger, Line, Undelivered, without_memory_and_arguments};
use super::store::{StateError, Store};
use crate::incident::Incident;
use crate::metrics::JournalCounts;
use crate::report::Report;

/// The thread's queue; more is counted as lost.
const QUEUE: usize = 1024;

/// The most notes written at once.
const BATCH: usize = 256;

/// Called when an incident is on disk, or cannot be written.
pub(super) type Then = Box<dyn FnOnce() + Send>;

/// The incidents that sinks have not delivered. Without a usable directory they do not outlive the agent.
pub(crate) struct Deliveries {
    /// Of no sink.
    pub(super) root: Receipts,
    /// Writes the journal, where there is one.
    thread: Option<JoinHandle<()>>,
    /// What earlier agents have not delivered, oldest first.
    pub(super) left_over: Vec<Undelivered>,
}

/// A sink's handle to the journal. The default one has none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Receipts {
    sink: String,
    queue: Option<SyncSender<Note>>,
    pub(super) counts: JournalCounts,
}

/// A line to write, and what follows.
struct Note {
    line: Line,
    then: Option<Then>,
}

// === impl Deliveries ===

impl Deliveries {
    pub(crate) fn open(state: Option<&Path>, counts: &JournalCounts) -> Self {
        let mut deliveries = Self {
            root: Receipts {
                counts: counts.clone(),
                ..Receipts::default()
            },
            thread: None,
            left_over: Vec::new(),
        };
        if let Some(dir) = state
            && let Err(error) = deliveries.open_journal(dir)
        {
            counts.failed.inc();
            tracing::error!(error = %chain(&error), "no state is kept: what is not delivered when the agent ends is lost");
        }
        deliveries
    }

    fn open_journal(&mut self, dir: &Path) -> Result<(), StateError> {
        let (store, ledger) = Store::open(dir)?;
        let left_over = ledger.undelivered.iter().cloned().collect();
        let (queue, notes) = sync_channel(QUEUE);
        let counts = self.root.counts.clone();
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || write_notes(store, ledger, &notes, &counts))
            .map_err(|source| StateError::Io {
                action: "start the thread that writes to",
                path: dir.to_owned(),
                source,
            })?;
        (self.thread, self.left_over) = (Some(thread), left_over);
        self.root.queue = Some(queue);
        Ok(())
    }

    pub(crate) fn receipts(&self, sink: &str) -> Receipts {
        Receipts {
            sink: sink.to_owned(),
            ..self.root.clone()
        }
    }

    /// Call before the incident is offered to these sinks. Its records stay pinned until the journal has it or
    /// cannot take it.
    pub(crate) fn record_incident(
        &self,
        incident: &Incident,
        sinks: BTreeSet<String>,
        pinned: &Pinned,
    ) {
        if !self.root.are_kept() || sinks.is_empty() {
            pinned.settle(&incident.stamps);
            return;
        }
        let (pinned, stamps) = (pinned.clone(), incident.stamps.clone());
        let incident = without_memory_and_arguments(incident);
        let line = Line::Undelivered(Box::new(Undelivered { sinks, incident }));
        let settle = Box::new(move || pinned.settle(&stamps));
        self.root.send(line, Some(settle));
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
                    self.root.counts.again.inc();
                    tracing::info!(
                        sink,
                        incident = report.id(),
                        "not delivered by an earlier agent: offered again"
                    );
                } else {
                    self.root.counts.stale.inc();
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
        let Self { root, thread, .. } = self;
        drop(root);
        let Some(thread) = thread else { return };
        let joined = tokio::task::spawn_blocking(move || thread.join());
        if timeout(patience, joined).await.is_err() {
            tracing::error!("the disk stalls: what is not delivered yet may be lost");
        }
    }
}

// === impl Receipts ===

impl Receipts {
    /// Whether the next agent offers again what this one has not settled.
    pub(crate) fn are_kept(&self) -> bool {
        self.queue.is_some()
    }

    /// Call when the sink has delivered the incident or given it up: it will not be offered again.
    pub(crate) fn settle(&self, id: &str) {
        let (id, sink) = (id.to_owned(), self.sink.clone());
        self.send(Line::Settled { id, sink }, None);
    }

    /// Never waits; `then` is called in any case, but without a journal.
    pub(super) fn send(&self, line: Line, then: Option<Then>) {
        let Some(queue) = &self.queue else { return };
        if let Err(TrySendError::Full(note) | TrySendError::Disconnected(note)) =
            queue.try_send(Note { line, then })
        {
            self.counts.lost.inc();
            if let Some(then) = note.then {
                then();
            }
        }
    }
}

fn write_notes(
    mut store: Store,
    mut ledger: Ledger,
    notes: &Receiver<Note>,
    counts: &JournalCounts,
) {
    let mut failing = false;
    while let Ok(first) = notes.recv() {
        let (mut lines, mut thens) = (Vec::new(), Vec::new());
        for note in std::iter::once(first).chain(notes.try_iter().take(BATCH)) {
            let text = note.line.encode();
            if ledger.apply(note.line) {
                lines.extend(text);
            }
            thens.extend(note.then);
        }
        counts.lost.inc_by(take(&mut ledger.dropped));
        let written = store.append(&lines, &ledger);
        log_failure(&written, &mut failing, counts);
        for then in thens {
            then();
        }
    }
}

/// Logs the first failure of several: a full disk stays full.
fn log_failure(written: &io::Result<()>, failing: &mut bool, counts: &JournalCounts) {
    match written {
        Ok(()) => *failing = false,
        Err(error) => {
            counts.failed.inc();
            if !*failing {
                tracing::error!(error = %chain(error), "what is not delivered yet cannot be written: a restart would lose it");
            }
            *failing = true;
        }
    }
}
