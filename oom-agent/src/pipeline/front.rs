//! What is done in the thread that reads the ring: from a record to the line, as far as this host
//! knows by itself. Whoever asks others for more, or tells others, is behind it.

use std::collections::BTreeSet;
use std::sync::Arc;

use oom_agent_ebpf::Record;
use oom_capture::probe::{Leftover, RecordHandler};
use oom_capture::{Assembler, Kill};
use service::clock;
use tokio::sync::mpsc::Sender;

use super::no_victim::Sightings;
use super::resolve::Resolver;
use crate::incident::{Incident, Scope};
use crate::metrics::Metrics;
use crate::receipts::Pinned;
use crate::sinks::{Format, Lines};

/// What goes on to the other sinks.
pub(super) enum Seen {
    /// Whole, and its line was offered at that moment (`CLOCK_MONOTONIC`, in ns).
    Whole(Arc<Incident>, u64),
    /// The container runtime has something to say of it first. Whether its line is still to be written.
    Unnamed(Box<Incident>, bool),
}

/// The state of the ring's readers.
pub(super) struct Front {
    pub(super) assembler: Assembler,
    pub(super) resolver: Arc<Resolver>,
    pub(super) lines: Arc<Lines>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) pinned: Pinned,
    /// Kills whose lines the last agent has written, and no more: by their stamps.
    pub(super) lines_written: BTreeSet<u64>,
    /// OOMs without victims go there.
    pub(super) no_victim: Sightings,
    /// A full one makes the readers wait: the kernel's ring is the buffer.
    pub(super) seen: Sender<Seen>,
}

// === impl Front ===

impl Front {
    /// The taker of the ring's records, which begins with what another agent has left.
    pub(super) fn taker(mut self) -> RecordHandler {
        let mut left = Some(self.pinned.leftover());
        Box::new(move |record| {
            // In the readers' thread: whoever takes what is told runs by then.
            if let Some(left) = left.take() {
                self.take_over(left);
            }
            self.take(record)
        })
    }

    /// Takes a record, or looks what is overdue. Gives when it wants to look again.
    fn take(&mut self, record: Option<Record>) -> Option<u64> {
        let now_ns = clock::monotonic_ns();
        let found = match record {
            Some(Record::NoVictim(record)) => {
                self.no_victim.of_record(&record);
                return self.assembler.deadline_ns();
            }
            Some(record) => {
                self.pinned.keep(&record);
                self.assembler.accept_record(record, now_ns)
            }
            None => self.assembler.take_overdue(now_ns),
        };
        self.tell(found);
        self.pinned.settle(&self.assembler.take_dismissed());
        self.assembler.deadline_ns()
    }

    /// Takes over what another agent has left, before anything else.
    fn take_over(&mut self, left: Leftover) {
        self.lines_written = left.lines_written;
        self.assembler.remember_reported(left.settled);
        for record in left.records {
            self.take(Some(record));
        }
    }

    fn tell(&self, found: Vec<Kill>) {
        for found in found {
            self.metrics.found(&found);
            let mut incident = self.resolver.resolve(found);
            let unnamed = !self.resolver.name_known(&mut incident);
            if !unnamed && self.resolver.is_elsewhere(&incident) {
                self.metrics.elsewhere.inc();
                self.pinned.settle(&incident.stamps);
                continue;
            }
            // A sentence has no more to say, but of a node whose limit nobody told.
            let whole = incident.scope != Scope::Node || incident.limit_bytes.is_some();
            let half_told = self.lines_written.contains(&incident.stamp_ns);
            let at_once = !unnamed && whole && self.lines.format() == Format::Human;
            if at_once && !half_told {
                self.lines.offer(&incident.clone().into());
            }
            self.resolver.look(&mut incident);
            let is_written = at_once || half_told;
            // Those who hold the memory have names, too.
            let seen = if self.resolver.name_known(&mut incident) {
                let incident = Arc::new(incident);
                if !is_written {
                    self.lines.offer(&Arc::clone(&incident).into());
                }
                self.pinned.lines_written(&incident.stamps);
                Seen::Whole(incident, clock::monotonic_ns())
            } else {
                Seen::Unnamed(Box::new(incident), !is_written)
            };
            if self.seen.blocking_send(seen).is_err() {
                self.metrics.untold();
                tracing::error!("an incident came after the end");
            }
        }
    }
}

impl Drop for Front {
    /// Nothing more will come: what waits is told as it is, but where the next agent is to get the rest.
    fn drop(&mut self) {
        if self.pinned.is_lasting() {
            return;
        }
        let found = self.assembler.finish();
        self.tell(found);
    }
}
