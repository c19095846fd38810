//! Where incidents go. Each sink has its own bounded queue and its own retries: none can hold up another.

mod backoff;
mod bonk;
mod event;
mod line;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use bonk::{BonkerUrl, start as start_bonker};
pub use event::start as start_events;
pub use line::{Format, Lines};

use crate::incident::Incident;

/// Incidents that wait for one sink.
const QUEUE: usize = 256;

/// The near end of a sink.
pub struct Sink {
    name: String,
    queue: mpsc::Sender<Arc<Incident>>,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

/// What a sink did with its incidents.
#[derive(Debug, Default)]
pub struct Counts {
    /// Given to the sink, whatever came of it.
    pub offered: AtomicU64,
    /// Taken by the other side.
    pub delivered: AtomicU64,
    /// The queue was full.
    pub overflowed: AtomicU64,
    /// Refused, or given up after all retries.
    pub failed: AtomicU64,
    /// Nothing to say there: a host's process has no pod to write an Event on.
    pub skipped: AtomicU64,
}

// === impl Counts ===

impl Counts {
    /// Incidents that are neither delivered nor dropped yet.
    pub fn pending(&self) -> u64 {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        count(&self.offered)
            .saturating_sub(count(&self.delivered))
            .saturating_sub(count(&self.overflowed))
            .saturating_sub(count(&self.failed))
            .saturating_sub(count(&self.skipped))
    }
}

// === impl Sink ===

impl Sink {
    fn start<F>(
        name: String,
        run: impl FnOnce(mpsc::Receiver<Arc<Incident>>, Arc<Counts>) -> F,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let counts = Arc::new(Counts::default());
        let task = tokio::spawn(run(receiver, Arc::clone(&counts)));
        Self {
            name,
            queue,
            counts,
            task,
        }
    }

    /// Never waits: a full queue drops the incident and counts it.
    pub fn offer(&self, incident: &Arc<Incident>) {
        self.counts.offered.fetch_add(1, Ordering::Relaxed);
        if self.queue.try_send(Arc::clone(incident)).is_err() {
            self.counts.overflowed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(sink = %self.name, incident = incident.id, "queue full: incident dropped");
        }
    }

    /// Lets the sink finish what is queued. What is not done when this is dropped is given up.
    pub async fn finish(self) -> Arc<Counts> {
        drop(self.queue);
        let mut task = AbortOnDrop(self.task);
        if let Err(error) = (&mut task.0).await {
            tracing::error!(sink = %self.name, %error, "sink ended badly");
        }
        self.counts
    }

    /// For logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it has done so far.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
