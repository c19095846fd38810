//! Tells a kill: its Event first, whose creation is the claim; then the line and the bonks.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use service::clock;
use service::error_chain::chain;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::counts::{Counts, UpdateType};
use super::kills::Kill;
use super::{GRACE, dedup, report};
use crate::k8s::{ApiError, Cluster};
use crate::metrics::Metrics;
use crate::sinks::{Backoff, Sinks};

/// Kills that are told at once.
const AT_ONCE: usize = 16;

/// Attempts at one Event. Their waits span about half a minute, the restart of an API server.
const ATTEMPTS: u32 = 8;

/// Tells kills, several at once.
pub(super) struct Reporter {
    /// For how long a kill is left to its node's agent.
    pub(super) grace: Duration,
    ends: Arc<Outputs>,
    telling: JoinSet<()>,
}

/// Where kills go.
struct Outputs {
    cluster: Cluster,
    /// This controller, in the Event's `reportingInstance`.
    me: String,
    sinks: Sinks,
    counts: Counts,
    metrics: Arc<Metrics>,
}

// === impl Reporter ===

impl Reporter {
    pub(super) fn new(
        grace: Duration,
        cluster: Cluster,
        me: String,
        sinks: Sinks,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            grace,
            ends: Arc::new(Outputs {
                cluster,
                me,
                sinks,
                counts: Counts::new(&metrics),
                metrics,
            }),
            telling: JoinSet::new(),
        }
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.ends.counts
    }

    pub(super) fn has_room(&self) -> bool {
        self.telling.len() < AT_ONCE
    }

    /// Waits until one has been told.
    pub(super) async fn room(&mut self) {
        if let Some(Err(error)) = self.telling.join_next().await {
            tracing::error!(%error, "a kill was lost");
        }
    }

    pub(super) fn tell(&mut self, kill: Kill) {
        while self.telling.try_join_next().is_some() {}
        let ends = Arc::clone(&self.ends);
        self.telling.spawn(async move { ends.tell(&kill).await });
    }

    /// Lets those finish that are being told.
    pub(super) async fn told(&mut self) {
        let deadline = Instant::now() + GRACE;
        while let Ok(Some(_)) = timeout_at(deadline, self.telling.join_next()).await {}
        // The rest is told by whoever leads next.
        self.telling.shutdown().await;
    }

    pub(super) async fn finish(self) {
        let ends = self.ends;
        ends.sinks.finish(GRACE).await;
        for of in UpdateType::ALL {
            let count = ends.counts.get(of);
            tracing::info!(update_type = of.label(), count, "summary");
        }
        let unwritten = ends.metrics.lines_unwritten.get();
        if unwritten > 0 {
            tracing::error!(unwritten, "lines were not written");
        }
    }
}

// === impl Outputs ===

impl Outputs {
    async fn tell(&self, kill: &Kill) {
        let of = self.claim(kill).await;
        self.counts.add(of, 1);
        tracing::info!(
            namespace = kill.namespace,
            pod = kill.pod,
            container = kill.container,
            id = kill.id(),
            outcome = of.label(),
            "kill"
        );
        if !matches!(of, UpdateType::EventSent | UpdateType::EventFailed) {
            return;
        }
        let mut incident = report::incident(kill, Timestamp::now(), clock::monotonic_ns());
        if of == UpdateType::EventFailed {
            let reason = "event: the API server did not take it; the log says why";
            incident.degraded.push(reason.to_owned());
        }
        self.metrics.told(&incident, clock::monotonic_ns());
        self.sinks.offer(&incident.into());
    }

    async fn claim(&self, kill: &Kill) -> UpdateType {
        if self.told_by_agent(kill).await {
            return UpdateType::ToldByAgent;
        }
        match self.write(kill).await {
            Ok(true) => UpdateType::EventSent,
            Ok(false) => UpdateType::ToldBefore,
            Err(error) => {
                tracing::error!(id = kill.id(), error = %chain(&error), "event given up");
                UpdateType::EventFailed
            }
        }
    }

    async fn told_by_agent(&self, kill: &Kill) -> bool {
        let look = || self.cluster.agent_events(&kill.namespace, &kill.pod);
        match with_patience(kill, look).await {
            Ok(events) => dedup::is_reported_by_agent(kill, &events),
            Err(error) => {
                tracing::warn!(
                    error = %chain(&error),
                    "whether the node's agent has told a kill is not known: it may be told twice"
                );
                false
            }
        }
    }

    async fn write(&self, kill: &Kill) -> Result<bool, ApiError> {
        let note = report::note(kill);
        with_patience(kill, || self.cluster.write_note(&note, &self.me)).await
    }
}

/// Asks until there is an answer that will not change.
async fn with_patience<T, F>(kill: &Kill, mut ask: impl FnMut() -> F) -> Result<T, ApiError>
where
    F: Future<Output = Result<T, ApiError>>,
{
    let mut backoff = Backoff::default();
    loop {
        match ask().await {
            Err(error) if error.is_transient() && backoff.attempts() + 1 < ATTEMPTS => {
                let wait = backoff.next_wait(fastrand::f64());
                let retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(id = kill.id(), error = %chain(&error), retry_in_ms, "kill not told yet");
                sleep(wait).await;
            }
            done => return done,
        }
    }
}
