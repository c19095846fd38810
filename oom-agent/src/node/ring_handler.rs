//! Runs in the thread that reads the ring: from a record to the line, by what this host knows without
//! waiting. Network I/O happens downstream, on tokio.

use std::collections::BTreeSet;
use std::sync::Arc;

use oom_agent_ebpf::Record;
use oom_capture::probe::{Leftover, RecordHandler};
use oom_capture::{Assembler, Kill};
use service::clock;
use tokio::sync::mpsc::Sender;

use super::no_victim::Sightings;
use crate::enrich::Enricher;
use crate::incident::{Incident, Scope};
use crate::metrics::Metrics;
use crate::receipts::Pinned;
use crate::sinks::{Format, Lines};

/// A kill for the other sinks.
pub(super) enum EnrichedKill {
    /// Its line was offered at that moment (`CLOCK_MONOTONIC`, in ns).
    Complete(Arc<Incident>, u64),
    /// A container runtime has to be queried for names first. The flag: the line is still to be written.
    Unnamed(Box<Incident>, bool),
}

/// The state of the ring's readers.
pub(super) struct RingHandler {
    pub(super) assembler: Assembler,
    pub(super) enricher: Arc<Enricher>,
    pub(super) lines: Arc<Lines>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) pinned: Pinned,
    /// The stamps of kills of which the last agent has written the lines only.
    pub(super) lines_written: BTreeSet<u64>,
    pub(super) no_victim: Sightings,
    /// The readers wait for a full queue: the kernel's ring is the buffer.
    pub(super) kills: Sender<EnrichedKill>,
}

// === impl RingHandler ===

impl RingHandler {
    /// The callback for the ring's records. It begins with the records of an earlier agent.
    pub(super) fn into_callback(mut self) -> RecordHandler {
        let mut left = Some(self.pinned.leftover());
        Box::new(move |record| {
            // In the readers' thread: the node's loop, which empties the queue, runs by then.
            if let Some(left) = left.take() {
                self.add_leftover(left);
            }
            self.handle_record(record)
        })
    }

    /// Without a record: checks for overdue kills. Returns when to check next.
    fn handle_record(&mut self, record: Option<Record>) -> Option<u64> {
        let now_ns = clock::monotonic_ns();
        let kills = match record {
            Some(Record::NoVictim(record)) => {
                self.no_victim.offer_record(&record);
                return self.assembler.deadline_ns();
            }
            Some(record) => {
                self.pinned.keep_record(&record);
                self.assembler.accept_record(record, now_ns)
            }
            None => self.assembler.take_overdue(now_ns),
        };
        self.deliver_kills(kills);
        self.pinned.settle(&self.assembler.take_dismissed());
        self.assembler.deadline_ns()
    }

    /// Handles the records of an earlier agent, before any other.
    fn add_leftover(&mut self, left: Leftover) {
        self.lines_written = left.lines_written;
        self.assembler.remember_reported(left.settled);
        for record in left.records {
            self.handle_record(Some(record));
        }
    }

    fn deliver_kills(&self, kills: Vec<Kill>) {
        for kill in kills {
            let has_waited = self.enricher.has_waited(kill.stamp_ns);
            self.metrics.count_kill(&kill, has_waited);
            let mut incident = self.enricher.enrich(kill);
            let unnamed = !self.enricher.add_known_names(&mut incident);
            if !unnamed && self.enricher.is_elsewhere(&incident) {
                self.metrics.elsewhere.inc();
                self.pinned.settle(&incident.stamps);
                continue;
            }
            // The sentence is complete, but for a node whose limit is not read yet.
            let is_complete = incident.scope != Scope::Node || incident.limit_bytes.is_some();
            let was_written = self.lines_written.contains(&incident.stamp_ns);
            let at_once = !unnamed && is_complete && self.lines.format() == Format::Human;
            let mut incident = Arc::new(incident);
            if at_once && !was_written {
                self.lines.offer(&Arc::clone(&incident).into());
            }
            // The line is written: nothing else has this incident, and it is not copied.
            self.enricher.read_memory(Arc::make_mut(&mut incident));
            let is_written = at_once || was_written;
            // The holders of the memory have names, too.
            let kill = if self.enricher.add_known_names(Arc::make_mut(&mut incident)) {
                if !is_written {
                    self.lines.offer(&Arc::clone(&incident).into());
                }
                self.pinned.mark_lines_written(&incident.stamps);
                EnrichedKill::Complete(incident, clock::monotonic_ns())
            } else {
                EnrichedKill::Unnamed(Box::new(Arc::unwrap_or_clone(incident)), !is_written)
            };
            if self.kills.blocking_send(kill).is_err() {
                self.metrics.incidents_lost.inc();
                tracing::error!("an incident came after the shutdown and was lost");
            }
        }
    }
}

impl Drop for RingHandler {
    /// Delivers unfinished kills as they are, unless the next agent can finish them.
    fn drop(&mut self) {
        if self.pinned.is_lasting() {
            return;
        }
        let kills = self.assembler.finish();
        self.deliver_kills(kills);
    }
}
