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

use service::error_chain::chain;
use tokio::time::timeout;

use super::ledger::{Ledger, Line, Undelivered, without_memory_and_arguments};
use super::store::{StateError, Store};
use crate::incident::Incident;
use crate::metrics::JournalCounts;

/// The thread's queue; more is counted as lost.
const QUEUE: usize = 1024;

/// The most notes written at once.
const BATCH: usize = 256;

/// Called when an incident is on disk, or cannot be written.
pub(super) type Then = Box<dyn FnOnce() + Send>;

/// The journal; its thread writes.
pub(crate) struct Journal {
    queue: SyncSender<Note>,
    pub(super) counts: JournalCounts,
    thread: JoinHandle<()>,
}

/// A sink's handle to the journal. The default one has none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Receipts {
    sink: String,
    queue: Option<SyncSender<Note>>,
    counts: JournalCounts,
}

/// A line to write, and what follows.
struct Note {
    line: Line,
    then: Option<Then>,
}

// === impl Journal ===

impl Journal {
    /// Opens the journal in `dir` and starts its thread. Returns what earlier agents have not delivered, oldest
    /// first.
    pub(super) fn open(
        dir: &Path,
        counts: JournalCounts,
    ) -> Result<(Self, Vec<Undelivered>), StateError> {
        let (store, ledger) = Store::open(dir)?;
        let undelivered = ledger.undelivered.iter().cloned().collect();
        let (queue, notes) = sync_channel(QUEUE);
        let failed = counts.clone();
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || write_notes(store, ledger, &notes, &failed))
            .map_err(|source| StateError::Io {
                action: "start the thread that writes to",
                path: dir.to_owned(),
                source,
            })?;
        let journal = Self {
            queue,
            counts,
            thread,
        };
        Ok((journal, undelivered))
    }

    pub(super) fn receipts(&self, sink: &str) -> Receipts {
        Receipts {
            sink: sink.to_owned(),
            queue: Some(self.queue.clone()),
            counts: self.counts.clone(),
        }
    }

    /// Records that sinks have to deliver an incident. Never waits; `then` is called in any case.
    pub(super) fn record_incident(&self, sinks: BTreeSet<String>, incident: &Incident, then: Then) {
        let incident = without_memory_and_arguments(incident);
        let note = Note {
            line: Line::Undelivered(Box::new(Undelivered { sinks, incident })),
            then: Some(then),
        };
        if let Err(TrySendError::Full(note) | TrySendError::Disconnected(note)) =
            self.queue.try_send(note)
        {
            self.counts.lost.inc();
            if let Some(then) = note.then {
                then();
            }
        }
    }

    /// Lets the thread write what is queued, for `patience` at most. Every [`Receipts`] must be dropped.
    pub(super) async fn finish(self, patience: Duration) {
        let Self { queue, thread, .. } = self;
        drop(queue);
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
        let Some(queue) = &self.queue else { return };
        let note = Note {
            line: Line::Settled {
                id: id.to_owned(),
                sink: self.sink.clone(),
            },
            then: None,
        };
        if queue.try_send(note).is_err() {
            self.counts.lost.inc();
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
