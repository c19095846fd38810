//! Reports a kill: creates its Event first; the replica that does so also writes the line and bonks.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use service::clock;
use service::error_chain::chain;
use strum::VariantArray as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::counts::UpdateType;
use super::{GRACE, dedup, report};
use crate::k8s::{ApiError, Cluster, StatusKill};
use crate::metrics::{Counter, Metrics};
use crate::sinks::Sinks;
use service::backoff::Backoff;

/// Kills that are reported at the same time.
const CONCURRENCY: usize = 16;

/// Attempts at one request. Their waits span about half a minute: the restart of an API server.
const ATTEMPTS: u32 = 8;

/// Reports several kills concurrently.
pub(super) struct Reporter {
    /// How long to wait for the report of the node's agent.
    pub(super) grace: Duration,
    outputs: Arc<Outputs>,
    reports: JoinSet<()>,
}

/// Where kills go.
struct Outputs {
    cluster: Cluster,
    /// This controller, in the Event's `reportingInstance`.
    me: String,
    sinks: Sinks,
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
        // A counter is exposed from its first use on.
        for update in UpdateType::VARIANTS {
            metrics.watch_update(update.into());
        }
        Self {
            grace,
            outputs: Arc::new(Outputs {
                cluster,
                me,
                sinks,
                metrics,
            }),
            reports: JoinSet::new(),
        }
    }

    pub(super) fn counter(&self, update: UpdateType) -> Counter {
        self.outputs.metrics.watch_update(update.into())
    }

    pub(super) fn has_room(&self) -> bool {
        self.reports.len() < CONCURRENCY
    }

    /// Waits until one report is done.
    pub(super) async fn wait_for_room(&mut self) {
        if let Some(Err(error)) = self.reports.join_next().await {
            tracing::error!(%error, "a kill was lost");
        }
    }

    pub(super) fn report(&mut self, kill: StatusKill) {
        let outputs = Arc::clone(&self.outputs);
        self.reports
            .spawn(async move { outputs.report(&kill).await });
    }

    /// Waits for the reports that are under way.
    pub(super) async fn drain(&mut self) {
        let deadline = Instant::now() + GRACE;
        while let Ok(Some(_)) = timeout_at(deadline, self.reports.join_next()).await {}
        // The next leader reports the rest.
        self.reports.shutdown().await;
    }

    pub(super) async fn finish(self) {
        let outputs = self.outputs;
        outputs.sinks.finish(GRACE).await;
        for update in UpdateType::VARIANTS {
            let count = outputs.metrics.watch_update(update.into()).get();
            tracing::info!(update_type = <&str>::from(update), count, "summary");
        }
        let unwritten = outputs.metrics.lines_unwritten.get();
        if unwritten > 0 {
            tracing::error!(unwritten, "lines were not written");
        }
    }
}

// === impl Outputs ===

impl Outputs {
    async fn report(&self, kill: &StatusKill) {
        let update = self.claim(kill).await;
        self.metrics.watch_update(update.into()).inc();
        tracing::info!(
            namespace = kill.namespace,
            pod = kill.pod,
            container = kill.container,
            id = kill.id(),
            outcome = <&str>::from(update),
            "kill"
        );
        if !matches!(update, UpdateType::EventSent | UpdateType::EventFailed) {
            return;
        }
        let mut incident = report::status_incident(kill, Timestamp::now(), clock::monotonic_ns());
        if update == UpdateType::EventFailed {
            let reason = "it could not be written; the log has the reason";
            incident.note("event", reason);
        }
        self.metrics
            .count_incident(&incident, clock::monotonic_ns());
        self.sinks.offer(&incident.into());
    }

    async fn claim(&self, kill: &StatusKill) -> UpdateType {
        if self.is_reported_by_agent(kill).await {
            return UpdateType::ReportedByAgent;
        }
        let create = || self.cluster.create_event(kill, &self.me);
        match retry_transient(kill, create).await {
            Ok(true) => UpdateType::EventSent,
            Ok(false) => UpdateType::ReportedBefore,
            Err(error) => {
                tracing::error!(id = kill.id(), error = %chain(&error), "cannot write the Event of a kill");
                UpdateType::EventFailed
            }
        }
    }

    async fn is_reported_by_agent(&self, kill: &StatusKill) -> bool {
        let list = || self.cluster.list_agent_events(&kill.namespace, &kill.pod);
        match retry_transient(kill, list).await {
            Ok(events) => dedup::is_reported_by_agent(kill, &events),
            Err(error) => {
                tracing::warn!(
                    error = %chain(&error),
                    "cannot list the Events of the node's agent: a kill may be reported twice"
                );
                false
            }
        }
    }
}

/// Repeats a request while its error may go away.
async fn retry_transient<T, F>(
    kill: &StatusKill,
    mut request: impl FnMut() -> F,
) -> Result<T, ApiError>
where
    F: Future<Output = Result<T, ApiError>>,
{
    let mut backoff = Backoff::default();
    loop {
        match request().await {
            Err(error) if error.is_transient() && backoff.attempts() + 1 < ATTEMPTS => {
                let wait = backoff.next_wait(fastrand::f64());
                let retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(id = kill.id(), error = %chain(&error), retry_in_ms, "kill not reported yet");
                sleep(wait).await;
            }
            done => return done,
        }
    }
}
