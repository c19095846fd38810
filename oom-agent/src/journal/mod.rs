//! What is owed to sinks, in a file that outlives the agent: an incident that an API server or a
//! bonker has not taken when the agent ends is offered again by the next.
//!
//! A thread of its own writes: nothing waits for the disk, and what it does not take is counted. A
//! killed process loses nothing that was written; only the loss of power does, so nothing is synced.

mod ledger;
mod store;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use service::error_chain::chain;
use tokio::time::timeout;

use crate::incident::Incident;
use crate::metrics::JournalCounts;
use ledger::{Ledger, lean};
use store::Store;

pub use ledger::Debt;
pub use store::StateError;

/// What waits for the thread; more is counted as lost.
const QUEUE: usize = 1024;

/// Written at once at most.
const BATCH: usize = 256;

/// What is to be done when a debt is on disk, or cannot be.
pub type Then = Box<dyn FnOnce() + Send>;

/// The near end of the journal.
pub struct Journal {
    queue: SyncSender<Note>,
    counts: JournalCounts,
    thread: JoinHandle<()>,
}

/// A sink's end of it: says what the sink is done with. The default one says it to nobody.
#[derive(Clone, Debug, Default)]
pub struct Debts {
    sink: String,
    queue: Option<SyncSender<Note>>,
    counts: JournalCounts,
}

enum Note {
    Owed {
        sinks: BTreeSet<String>,
        incident: Arc<Incident>,
        then: Then,
    },
    Done {
        id: String,
        sink: String,
    },
}

// === impl Journal ===

impl Journal {
    /// Opens the journal in that directory and starts its thread. Gives what earlier agents owe, oldest first.
    pub fn open(dir: &Path, counts: JournalCounts) -> Result<(Self, Vec<Debt>), StateError> {
        let (store, ledger) = Store::open(dir)?;
        let debts = ledger.debts().cloned().collect();
        let (queue, notes) = sync_channel(QUEUE);
        let failed = counts.clone();
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || keep(store, ledger, &notes, &failed))
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
        Ok((journal, debts))
    }

    /// For a sink of that name.
    pub fn debts(&self, sink: &str) -> Debts {
        Debts {
            sink: sink.to_owned(),
            queue: Some(self.queue.clone()),
            counts: self.counts.clone(),
        }
    }

    /// An incident is owed to sinks. Never waits; `then` is called in any case.
    pub fn owe(&self, sinks: BTreeSet<String>, incident: &Arc<Incident>, then: Then) {
        let note = Note::Owed {
            sinks,
            incident: Arc::clone(incident),
            then,
        };
        if let Err(full) = self.queue.try_send(note) {
            self.counts.lost.inc();
            let (std::sync::mpsc::TrySendError::Full(note)
            | std::sync::mpsc::TrySendError::Disconnected(note)) = full;
            if let Note::Owed { then, .. } = note {
                then();
            }
        }
    }

    /// Lets the thread write what is queued, for `patience` at most. Every sink's end must be gone.
    pub async fn finish(self, patience: Duration) {
        let Self { queue, thread, .. } = self;
        drop(queue);
        let joined = tokio::task::spawn_blocking(move || thread.join());
        if timeout(patience, joined).await.is_err() {
            tracing::error!("the disk stalls: what is owed may be lost");
        }
    }
}

// === impl Debts ===

impl Debts {
    /// Whether the next agent offers again what this one is not done with.
    pub fn are_kept(&self) -> bool {
        self.queue.is_some()
    }

    /// Delivered, or given up: it is not to be offered again.
    pub fn done(&self, id: &str) {
        let Some(queue) = &self.queue else { return };
        let note = Note::Done {
            id: id.to_owned(),
            sink: self.sink.clone(),
        };
        if queue.try_send(note).is_err() {
            self.counts.lost.inc();
        }
    }
}

// === impl Note ===

impl std::fmt::Debug for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Owed { .. } => "Owed",
            Self::Done { .. } => "Done",
        })
    }
}

fn keep(mut store: Store, mut ledger: Ledger, notes: &Receiver<Note>, counts: &JournalCounts) {
    let mut failing = false;
    while let Ok(first) = notes.recv() {
        let (mut lines, mut thens) = (Vec::new(), Vec::new());
        for note in std::iter::once(first).chain(notes.try_iter().take(BATCH)) {
            match note {
                Note::Owed {
                    sinks,
                    incident,
                    then,
                } => {
                    let incident = lean(&incident);
                    let (line, forgotten) = ledger.owe(Debt { sinks, incident });
                    counts.lost.inc_by(forgotten);
                    lines.extend(line);
                    thens.push(then);
                }
                Note::Done { id, sink } => {
                    lines.extend(ledger.done(&id, &sink).unwrap_or_default());
                }
            }
        }
        let written = store.append(&lines, &ledger);
        say(&written, &mut failing, counts);
        for then in thens {
            then();
        }
    }
}

/// A full disk is said once.
fn say(written: &io::Result<()>, failing: &mut bool, counts: &JournalCounts) {
    match written {
        Ok(()) => *failing = false,
        Err(error) => {
            counts.failed.inc();
            if !*failing {
                tracing::error!(error = %chain(error), "what is owed cannot be written: a restart would lose it");
            }
            *failing = true;
        }
    }
}
