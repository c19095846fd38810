//! Where reports go. Each sink has its own bounded queues and retries: none can delay another.

mod backlog;
mod bonk;
mod event;
mod line;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub(crate) use bonk::start as start_bonker;
pub(crate) use bonk::{BonkerUrl, Contradiction, Secrets};
pub(crate) use event::NAME as EVENTS;
pub(crate) use event::start as start_events;
pub use line::Format;
pub(crate) use line::{Lines, Style};

use crate::incident::Incident;
use crate::metrics::{Counter, Metrics, SinkCounts};
use crate::report::Report;

/// The queue of incidents of one sink.
const QUEUE: usize = 256;

/// All sinks of the node.
pub(crate) struct Sinks {
    lines: Arc<Lines>,
    queued: Vec<Sink>,
}

/// A sink with a queue; its task writes.
pub(crate) struct Sink {
    name: String,
    accepts: Accepts,
    incidents: Sender<Arc<Incident>>,
    counts: SinkCounts,
    /// Reports that are no incident have a queue of their own, so that they take no room of the kills'.
    others: Sender<Report>,
    other_counts: QueueCounts,
    shutdown: CancellationToken,
    task: Mutex<Option<AbortOnDropHandle<()>>>,
    replay_for: Duration,
}

/// The parts of a sink.
struct Plan<'a> {
    name: String,
    accepts: Accepts,
    /// The queue of reports that are no incident.
    others: usize,
    /// Their counters; `None`: those of the incidents.
    other_counts: Option<QueueCounts>,
    /// An older incident is not offered again after a restart.
    replay_for: Duration,
    metrics: &'a Metrics,
}

/// Which reports a sink takes.
type Accepts = Box<dyn Fn(&Report) -> bool + Send + Sync>;

struct QueueCounts {
    offered: Counter,
    overflowed: Counter,
}

/// The receivers of both queues.
struct Inlet {
    incidents: Incidents,
    others: Receiver<Report>,
}

/// Incidents, until the sink is shut down and its queue is empty.
struct Incidents {
    queue: Receiver<Arc<Incident>>,
    shutdown: CancellationToken,
}

// === impl Sinks ===

impl Sinks {
    /// `lines` is standard output.
    pub(crate) fn new(lines: Arc<Lines>, queued: Vec<Sink>) -> Self {
        Self { lines, queued }
    }

    /// Never waits.
    pub(crate) fn offer(&self, report: &Report) {
        self.lines.offer(report);
        self.offer_queued(report);
    }

    /// Offers an incident whose line was offered already. Never waits.
    pub(crate) fn offer_queued(&self, report: &Report) {
        for sink in &self.queued {
            sink.offer(report);
        }
    }

    /// Offers a report of that age once more. False: the sink is gone, or the report too old for it.
    pub(crate) fn offer_again(&self, sink: &str, report: &Report, age: Duration) -> bool {
        let mut sinks = self.queued.iter();
        let sink = sinks.find(|it| it.name == sink && age < it.replay_for);
        sink.inspect(|sink| sink.offer(report)).is_some()
    }

    /// The names of the sinks with a queue.
    pub(crate) fn queued_names(&self) -> BTreeSet<String> {
        self.queued.iter().map(|sink| sink.name.clone()).collect()
    }

    /// Lets every sink finish what is queued, for `patience` at most.
    pub(crate) async fn finish(&self, patience: Duration) {
        let finish = |sink| tokio::time::timeout(patience, Sink::finish(sink));
        let queued = futures::future::join_all(self.queued.iter().map(finish));
        tokio::join!(self.lines.finish(patience), queued);
    }
}

// === impl Sink ===

impl Sink {
    fn start<F>(plan: Plan<'_>, run: impl FnOnce(Inlet, SinkCounts) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (incidents, incident_receiver) = channel(QUEUE);
        let (others, other_receiver) = channel(plan.others);
        let counts = plan.metrics.sink(&plan.name);
        let shutdown = CancellationToken::new();
        let inlet = Inlet {
            incidents: Incidents {
                queue: incident_receiver,
                shutdown: shutdown.clone(),
            },
            others: other_receiver,
        };
        let task = tokio::spawn(run(inlet, counts.clone()));
        let as_incidents = || QueueCounts {
            offered: counts.offered.clone(),
            overflowed: counts.overflowed.clone(),
        };
        Self {
            name: plan.name,
            accepts: plan.accepts,
            incidents,
            others,
            other_counts: plan.other_counts.unwrap_or_else(as_incidents),
            counts,
            shutdown,
            task: Mutex::new(Some(AbortOnDropHandle::new(task))),
            replay_for: plan.replay_for,
        }
    }

    /// Never waits: a full queue drops the report and counts it.
    pub(crate) fn offer(&self, report: &Report) {
        if !(self.accepts)(report) {
            return;
        }
        if let Report::Incident(incident) = report {
            self.counts.offered.inc();
            if self.incidents.try_send(Arc::clone(incident)).is_err() {
                self.counts.overflowed.inc();
                tracing::warn!(sink = %self.name, incident = incident.id, "queue full: incident dropped");
            }
            return;
        }
        self.other_counts.offered.inc();
        if self.others.try_send(report.clone()).is_err() {
            self.other_counts.overflowed.inc();
        }
    }

    /// Lets the sink finish its queue. Dropping the future gives up the rest.
    pub(crate) async fn finish(&self) -> SinkCounts {
        self.shutdown.cancel();
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(sink = %self.name, %error, "sink ended badly");
        }
        self.counts.clone()
    }
}

// === impl Incidents ===

impl Incidents {
    /// `None` once the sink is shut down and its queue is empty.
    async fn recv_until_shutdown(&mut self) -> Option<Arc<Incident>> {
        tokio::select! {
            biased;
            incident = self.queue.recv() => incident,
            () = self.shutdown.cancelled(), if !self.queue.is_closed() => {
                self.queue.close();
                self.queue.recv().await
            }
        }
    }
}
