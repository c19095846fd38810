//! Compares the container's status at the runtime and the kubelet with each kill, some seconds later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use service::error_chain::chain;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::Node;
use crate::enrich::Enricher;
use crate::incident::{Incident, Pod};
use crate::k8s::LookupError;
use crate::report::Report;
use crate::sinks::sleep_until;
use crate::status_check::{
    Check, Judgement, Mismatch, PendingChecks, Status, Stored, UndecidedReason,
};

/// The queue of incidents.
const QUEUE: usize = 256;

/// How long one query for a pod's statuses may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where incidents are offered. Dropping it ends the task.
pub(super) struct StatusChecker {
    queue: Sender<Arc<Incident>>,
    overflowed: Arc<AtomicU64>,
    node: Arc<Node>,
    task: AbortOnDropHandle<()>,
}

struct Task {
    pending: PendingChecks,
    node: Arc<Node>,
    /// The role may not read pods; logged once.
    refused: bool,
    overflowed: Arc<AtomicU64>,
    /// Records and incidents that were lost before the last check.
    lost: u64,
}

// === impl StatusChecker ===

impl StatusChecker {
    /// Every kill from now on must be offered.
    pub(super) fn start(node: &Arc<Node>) -> Self {
        let (queue, incidents) = mpsc::channel(QUEUE);
        let overflowed = Arc::new(AtomicU64::new(0));
        let task = Task {
            pending: PendingChecks::new(Timestamp::now()),
            node: Arc::clone(node),
            refused: false,
            overflowed: Arc::clone(&overflowed),
            lost: 0,
        };
        Self {
            queue,
            overflowed,
            node: Arc::clone(node),
            task: AbortOnDropHandle::new(tokio::spawn(task.run(incidents))),
        }
    }

    /// Never waits: an incident that finds no room is counted as undecided.
    pub(super) fn offer(&self, incident: &Arc<Incident>) {
        let mut victims = incident.victims.iter();
        if !Enricher::has_container(incident) && victims.all(|victim| victim.cgroup.is_some()) {
            return;
        }
        if self.queue.try_send(Arc::clone(incident)).is_err() {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
            let metrics = &self.node.metrics;
            metrics.count_undecided(UndecidedReason::TooMany, 1);
        }
    }

    /// Counts unfinished checks as undecided.
    pub(super) async fn finish(self, patience: Duration) {
        drop(self.queue);
        let _late = timeout(patience, self.task).await;
    }
}

// === impl Task ===

impl Task {
    async fn run(mut self, mut incidents: Receiver<Arc<Incident>>) {
        loop {
            let next = self.pending.next_due();
            tokio::select! {
                incident = incidents.recv() => match incident {
                    Some(incident) => self.add_incident(&incident),
                    None => break,
                },
                () = sleep_until(next) => {
                    if let Some(check) = self.pending.pop_due(Instant::now()) {
                        self.run_check(check, &mut incidents).await;
                    }
                }
            }
        }
        let metrics = &self.node.metrics;
        metrics.count_undecided(UndecidedReason::Ended, self.pending.count_open());
    }

    fn add_incident(&mut self, incident: &Arc<Incident>) {
        let dropped = self.pending.add_incident(incident, Instant::now());
        if dropped > 0 {
            let metrics = &self.node.metrics;
            metrics.count_undecided(UndecidedReason::TooMany, dropped);
            tracing::warn!(
                incident = incident.id,
                containers = dropped,
                "too many kills: not compared with the containers' status"
            );
        }
    }

    async fn run_check(&mut self, check: Check, incidents: &mut Receiver<Arc<Incident>>) {
        let statuses = self.read_statuses(&check).await;
        // Kills before the runtime's answer must be known before it is judged.
        while let Ok(incident) = incidents.try_recv() {
            self.add_incident(&incident);
        }
        let time = Timestamp::now();
        self.note_losses(time);
        let statuses = statuses.as_deref().map_err(|why| *why);
        for judgement in self.pending.judge(check, statuses, Instant::now(), time) {
            self.node.metrics.count_judgement(&judgement);
            match judgement {
                Judgement::Agrees => {}
                Judgement::Undecided(why) => {
                    tracing::debug!(why = <&str>::from(why), "no verdict on a container");
                }
                Judgement::Differs(mismatch) => self.report(&Arc::new(*mismatch)),
            }
        }
    }

    /// A lost kill may have been in any container.
    fn note_losses(&mut self, now: Timestamp) {
        let lost = self.node.meters.lost_records()
            + self.node.metrics.incidents_lost.get()
            + self.overflowed.load(Ordering::Relaxed);
        if lost > self.lost {
            self.lost = lost;
            self.pending.mark_missed(now);
        }
    }

    async fn read_statuses(&mut self, check: &Check) -> Result<Vec<Status>, UndecidedReason> {
        let (runtime, stored) = tokio::join!(self.query_runtime(check), self.query_kubelet(check));
        match stored {
            None => runtime,
            Some(Ok(stored)) => {
                let known = runtime.as_deref().unwrap_or_default().to_vec();
                let known = check.apply_stored(known, &stored);
                if known.is_empty() { runtime } else { Ok(known) }
            }
            Some(Err(LookupError::Gone | LookupError::Replaced)) => Err(UndecidedReason::Collected),
            Some(Err(LookupError::Forbidden)) => {
                if !std::mem::replace(&mut self.refused, true) {
                    tracing::warn!(
                        error = %chain(&LookupError::Forbidden),
                        "kills are compared with the container runtime's status, not with the one that the kubelet has stored"
                    );
                }
                runtime
            }
            Some(Err(error)) => {
                tracing::debug!(error = %chain(&error), "cannot read the pod's status");
                Err(UndecidedReason::Unanswered)
            }
        }
    }

    async fn query_runtime(&self, check: &Check) -> Result<Vec<Status>, UndecidedReason> {
        let query =
            async {
                let runtimes = self.node.enricher.runtimes.find().await;
                let containers = check.container_ids();
                let statuses = runtimes.read_statuses(check.pod_uid(), &containers).await;
                statuses.ok_or(UndecidedReason::NoRuntime)?.map_err(|error| {
                tracing::debug!(error = %chain(&error), "cannot read the containers' status");
                UndecidedReason::Unanswered
            })
            };
        timeout(PATIENCE, query)
            .await
            .unwrap_or(Err(UndecidedReason::Unanswered))
    }

    /// `None` without an API server, a pod, or its name.
    async fn query_kubelet(&self, check: &Check) -> Option<Result<Vec<Stored>, LookupError>> {
        let (reader, pod) = (self.node.pods.get()?, check.pod()?);
        let is_named = |pod: &Pod| pod.namespace.is_some() && pod.name.is_some();
        if is_named(pod) {
            return Some(reader.stored(pod).await);
        }
        // The kill was reported before the runtime had answered.
        let ids = check.container_ids();
        let mut named = ids
            .iter()
            .filter_map(|id| self.node.enricher.names.get(id)?.pod);
        let pod = named.find(is_named)?;
        Some(reader.stored(&pod).await)
    }

    fn report(&self, mismatch: &Arc<Mismatch>) {
        let container = &mismatch.status.container;
        tracing::info!(
            incident = mismatch.incident.id,
            verdict = <&str>::from(mismatch.verdict),
            container = container.name.as_deref().unwrap_or(&container.id),
            reason = mismatch.status.reason,
            "Kubernetes' status contradicts the kernel"
        );
        self.node
            .sinks
            .offer(&Report::Mismatch(Arc::clone(mismatch)));
    }
}
