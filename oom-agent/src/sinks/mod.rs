//! Where reports go. Each sink has its own bounded queues and retries: none can delay another.

mod backlog;
mod bonk;
mod event;
mod line;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::task::AbortOnDropHandle;

pub(crate) use bonk::{BonkerUrl, Contradiction, Secrets, start as start_bonker};
pub(crate) use event::{NAME as EVENTS, start as start_events};
pub use line::Format;
pub(crate) use line::{Lines, Style};

use crate::metrics::{Counter, SinkCounts};
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
    plan: Plan,
    counts: SinkCounts,
    /// `None` once it is shut down.
    running: Mutex<Option<Running>>,
}

/// The parts of a sink.
struct Plan {
    name: String,
    accepts: Accepts,
    /// The queue of reports that are no incident.
    others: usize,
    /// Counts those that found no room, where they are not counted with the incidents.
    others_overflowed: Option<Counter>,
    /// An older incident is not offered again after a restart.
    replay_for: Duration,
}

/// Which reports a sink takes.
type Accepts = Box<dyn Fn(&Report) -> bool + Send + Sync>;

/// Its queues end when it is dropped.
struct Running {
    incidents: Sender<Report>,
    /// Reports that are no incident have a queue of their own, so that they take no room of the kills'.
    others: Sender<Report>,
    task: AbortOnDropHandle<()>,
}

/// The receivers of both queues, which end when the sink is shut down.
struct Inlet {
    incidents: Receiver<Report>,
    others: Receiver<Report>,
}

/// Pending forever without a time.
pub(crate) async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
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
        let sink = sinks.find(|it| it.plan.name == sink && age < it.plan.replay_for);
        sink.inspect(|sink| sink.offer(report)).is_some()
    }

    /// The names of the sinks with a queue.
    pub(crate) fn queued_names(&self) -> BTreeSet<String> {
        self.queued
            .iter()
            .map(|sink| sink.plan.name.clone())
            .collect()
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
    fn start<F>(plan: Plan, counts: &SinkCounts, run: impl FnOnce(Inlet) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (incidents, incident_receiver) = channel(QUEUE);
        let (others, other_receiver) = channel(plan.others);
        let task = tokio::spawn(run(Inlet {
            incidents: incident_receiver,
            others: other_receiver,
        }));
        Self {
            plan,
            counts: counts.clone(),
            running: Mutex::new(Some(Running {
                incidents,
                others,
                task: AbortOnDropHandle::new(task),
            })),
        }
    }

    /// Never waits: a full queue drops the report and counts it.
    pub(crate) fn offer(&self, report: &Report) {
        if !(self.plan.accepts)(report) {
            return;
        }
        let kill = report.kills();
        let overflowed = self.plan.others_overflowed.as_ref();
        let overflowed = overflowed.filter(|_| kill.is_none());
        if overflowed.is_none() {
            self.counts.offered.inc();
        }
        let is_queued = self.running.lock().as_ref().is_some_and(|running| {
            let is_kill = kill.is_some();
            let queue = if is_kill {
                &running.incidents
            } else {
                &running.others
            };
            queue.try_send(report.clone()).is_ok()
        });
        if is_queued {
            return;
        }
        overflowed.unwrap_or(&self.counts.overflowed).inc();
        if let Some(incident) = kill {
            tracing::warn!(sink = %self.plan.name, incident = incident.id, "queue full: incident dropped");
        }
    }

    /// Lets the sink finish its queue. Dropping the future gives up the rest.
    pub(crate) async fn finish(&self) -> SinkCounts {
        // The queues end here, and with them the task.
        let task = self.running.lock().take().map(|running| running.task);
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(sink = %self.plan.name, %error, "sink ended badly");
        }
        self.counts.clone()
    }
}
