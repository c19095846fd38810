//! Where incidents go. Each sink has its own bounded queue and its own retries: none can hold up another.

mod backlog;
mod backoff;
mod bonk;
mod event;
mod line;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use backoff::Backoff;
pub use bonk::{BonkerUrl, Contradiction, Secrets, start as start_bonker};
pub use event::{NAME as EVENTS, Names, start as start_events};
pub use line::{Format, Lines};

use crate::incident::Incident;
use crate::metrics::{Metrics, SinkCounts};

/// Incidents that wait for one sink.
const QUEUE: usize = 256;

/// The near end of a sink.
pub struct Sink {
    name: String,
    queue: mpsc::Sender<Arc<Incident>>,
    counts: SinkCounts,
    task: JoinHandle<()>,
    owed_for: Duration,
}

// === impl Sink ===

impl Sink {
    fn start<F>(
        name: String,
        owed_for: Duration,
        metrics: &Metrics,
        run: impl FnOnce(mpsc::Receiver<Arc<Incident>>, SinkCounts) -> F,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let counts = metrics.sink(&name);
        let task = tokio::spawn(run(receiver, counts.clone()));
        Self {
            name,
            queue,
            counts,
            task,
            owed_for,
        }
    }

    /// Never waits: a full queue drops the incident and counts it.
    pub fn offer(&self, incident: &Arc<Incident>) {
        self.counts.offered.inc();
        if self.queue.try_send(Arc::clone(incident)).is_err() {
            self.counts.overflowed.inc();
            tracing::warn!(sink = %self.name, incident = incident.id, "queue full: incident dropped");
        }
    }

    /// Lets the sink finish what is queued. What is not done when this is dropped is given up.
    pub async fn finish(self) -> SinkCounts {
        drop(self.queue);
        let mut task = AbortOnDrop(self.task);
        if let Err(error) = (&mut task.0).await {
            tracing::error!(sink = %self.name, %error, "sink ended badly");
        }
        self.counts
    }

    /// An incident that is older is not offered again after a restart.
    pub fn owed_for(&self) -> Duration {
        self.owed_for
    }

    /// For logs and the journal.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it has done so far.
    pub fn counts(&self) -> SinkCounts {
        self.counts.clone()
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
