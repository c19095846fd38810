//! The Kubernetes Event of each incident, one at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Sink;
use super::backoff::Backoff;
use crate::clock;
use crate::error_chain::chain;
use crate::incident::Incident;
use crate::k8s::{Recorded, Recorder};
use crate::metrics::{Metrics, SinkCounts};

/// Attempts at one Event. Their waits span about half a minute, the restart of an API server; one that
/// hangs costs [`k8s`](crate::k8s)'s patience at each as well.
const ATTEMPTS: u32 = 8;

/// Starts the sink. `connect` looks for the API server meanwhile; without one there are no Events.
pub fn start(
    connect: impl Future<Output = Option<Recorder>> + Send + 'static,
    metrics: &Metrics,
) -> Sink {
    Sink::start("kubernetes".to_owned(), metrics, |queue, counts| {
        run(connect, queue, counts)
    })
}

async fn run(
    connect: impl Future<Output = Option<Recorder>>,
    mut queue: mpsc::Receiver<Arc<Incident>>,
    counts: SinkCounts,
) {
    let Some(recorder) = connect.await else {
        while queue.recv().await.is_some() {
            counts.skipped.inc();
        }
        return;
    };
    while let Some(incident) = queue.recv().await {
        match record(&recorder, &incident).await {
            Some(Recorded::Created | Recorded::AlreadyThere) => {
                counts.delivered(incident.stamp_ns, clock::monotonic_ns());
            }
            Some(Recorded::NoPod) => {
                counts.skipped.inc();
            }
            None => {
                counts.failed.inc();
            }
        }
    }
}

/// What became of it; `None` when it was given up.
async fn record(recorder: &Recorder, incident: &Incident) -> Option<Recorded> {
    let mut backoff = Backoff::default();
    loop {
        match recorder.record(incident).await {
            Ok(Recorded::NoPod) => {
                tracing::debug!(incident = incident.id, "no Event: the victim is in no pod");
                return Some(Recorded::NoPod);
            }
            Ok(done) => {
                let latency =
                    Duration::from_nanos(clock::monotonic_ns().saturating_sub(incident.stamp_ns));
                tracing::info!(
                    incident = incident.id,
                    outcome = ?done,
                    latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX),
                    "event recorded"
                );
                return Some(done);
            }
            Err(error) if error.is_transient() && backoff.attempts() + 1 < ATTEMPTS => {
                let wait = backoff.next(fastrand::f64());
                tracing::warn!(
                    incident = incident.id,
                    error = %chain(&error),
                    retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                    "event not recorded yet"
                );
                tokio::time::sleep(wait).await;
            }
            Err(error) => {
                tracing::error!(incident = incident.id, error = %chain(&error), "event given up");
                return None;
            }
        }
    }
}
