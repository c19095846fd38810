//! Some seconds after each kill: what the container runtime and the kubelet made of it, beside what the
//! kernel did.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use service::error_chain::chain;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::health::Meters;
use super::resolve::Resolver;
use crate::incident::{Incident, Pod};
use crate::k8s::{LookupError, PodReader};
use crate::metrics::Metrics;
use crate::report::Report;
use crate::sinks::Sinks;
use crate::status_check::{
    Check, Judgement, Mismatch, MismatchKind, Status, Stored, UndecidedReason, Watch,
};

/// Incidents on their way to the comparison.
const QUEUE: usize = 256;

/// The statuses of one pod's containers are had within this time, or not at all.
const PATIENCE: Duration = Duration::from_secs(3);

/// The near end of the comparison. Dropping it ends that.
pub(super) struct StatusChecker {
    queue: Sender<Arc<Incident>>,
    overflowed: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
    task: JoinHandle<()>,
}

struct Task {
    watch: Watch,
    resolver: Arc<Resolver>,
    /// Set once there is an API server.
    reader: Arc<OnceLock<PodReader>>,
    /// The role may not read pods: told once.
    refused: bool,
    metrics: Arc<Metrics>,
    sinks: Arc<Sinks>,
    meters: Meters,
    overflowed: Arc<AtomicU64>,
    /// Records and incidents that were lost when last looked.
    lost: u64,
}

// === impl StatusChecker ===

impl StatusChecker {
    /// Every kill from now on will be offered.
    pub(super) fn start(
        resolver: &Arc<Resolver>,
        reader: &Arc<OnceLock<PodReader>>,
        metrics: &Arc<Metrics>,
        meters: Meters,
        sinks: &Arc<Sinks>,
    ) -> Self {
        let (queue, incidents) = mpsc::channel(QUEUE);
        let overflowed = Arc::new(AtomicU64::new(0));
        let task = Task {
            watch: Watch::new(Timestamp::now()),
            resolver: Arc::clone(resolver),
            reader: Arc::clone(reader),
            refused: false,
            metrics: Arc::clone(metrics),
            sinks: Arc::clone(sinks),
            meters,
            overflowed: Arc::clone(&overflowed),
            lost: 0,
        };
        Self {
            queue,
            overflowed,
            metrics: Arc::clone(metrics),
            task: tokio::spawn(task.run(incidents)),
        }
    }

    /// Never waits: what finds no room is counted, and no verdict.
    pub(super) fn offer(&self, incident: &Arc<Incident>) {
        if !Resolver::has_container(incident) && incident.victims.iter().all(has_cgroup) {
            return;
        }
        if self.queue.try_send(Arc::clone(incident)).is_err() {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
            self.metrics.count_undecided(UndecidedReason::TooMany, 1);
        }
    }

    /// What was not looked at is counted.
    pub(super) async fn finish(self, patience: Duration) {
        drop(self.queue);
        let mut task = self.task;
        if timeout(patience, &mut task).await.is_err() {
            task.abort();
        }
    }
}

fn has_cgroup(victim: &crate::incident::Victim) -> bool {
    victim.cgroup.is_some()
}

// === impl Task ===

impl Task {
    async fn run(mut self, mut incidents: Receiver<Arc<Incident>>) {
        loop {
            let next = self.watch.next();
            tokio::select! {
                incident = incidents.recv() => match incident {
                    Some(incident) => self.take(&incident),
                    None => break,
                },
                () = sleep_until(next), if next.is_some() => {
                    if let Some(check) = self.watch.due(Instant::now()) {
                        self.look(check, &mut incidents).await;
                    }
                }
            }
        }
        self.metrics
            .count_undecided(UndecidedReason::Ended, self.watch.open());
    }

    fn take(&mut self, incident: &Arc<Incident>) {
        let dropped = self.watch.take(incident, Instant::now());
        if dropped > 0 {
            self.metrics
                .count_undecided(UndecidedReason::TooMany, dropped);
            tracing::warn!(
                incident = incident.id,
                containers = dropped,
                "too many kills: not compared with what the container runtime says"
            );
        }
    }

    async fn look(&mut self, check: Check, incidents: &mut Receiver<Arc<Incident>>) {
        let statuses = self.ask(&check).await;
        // What was killed before the runtime spoke has to be known before it is judged.
        while let Ok(incident) = incidents.try_recv() {
            self.take(&incident);
        }
        let time = Timestamp::now();
        self.mind_losses(time);
        let statuses = statuses.as_deref().map_err(|why| *why);
        for judgement in self.watch.judge(check, statuses, Instant::now(), time) {
            self.metrics.count_judgement(&judgement);
            match judgement {
                Judgement::Agrees => {}
                Judgement::Undecided(why) => {
                    tracing::debug!(why = why.as_str(), "no verdict on a container");
                }
                Judgement::Differs(finding) => self.tell(&Arc::new(*finding)),
            }
        }
    }

    /// A kill that was lost on its way may have been anybody's.
    fn mind_losses(&mut self, now: Timestamp) {
        let lost = self.meters.lost()
            + self.metrics.totals().lost
            + self.overflowed.load(Ordering::Relaxed);
        if lost > self.lost {
            self.lost = lost;
            self.watch.blind(now);
        }
    }

    async fn ask(&mut self, check: &Check) -> Result<Vec<Status>, UndecidedReason> {
        let (runtime, stored) = tokio::join!(self.ask_runtime(check), self.ask_kubelet(check));
        match stored {
            None => runtime,
            Some(Ok(stored)) => {
                let known = runtime.as_deref().unwrap_or_default().to_vec();
                let known = check.as_stored(known, &stored);
                if known.is_empty() { runtime } else { Ok(known) }
            }
            Some(Err(LookupError::Gone | LookupError::Replaced)) => Err(UndecidedReason::Collected),
            Some(Err(LookupError::Forbidden)) => {
                if !std::mem::replace(&mut self.refused, true) {
                    tracing::warn!(
                        error = %chain(&LookupError::Forbidden),
                        "kills are compared with what the container runtime says, not with what the kubelet has stored"
                    );
                }
                runtime
            }
            Some(Err(error)) => {
                tracing::debug!(error = %chain(&error), "what the kubelet has stored could not be asked");
                Err(UndecidedReason::Unanswered)
            }
        }
    }

    async fn ask_runtime(&self, check: &Check) -> Result<Vec<Status>, UndecidedReason> {
        let asked = async {
            let runtimes = self.resolver.runtimes.find().await;
            let containers = check.containers();
            let statuses = runtimes.read_statuses(check.pod_uid(), &containers).await;
            statuses.ok_or(UndecidedReason::NoRuntime)?.map_err(|error| {
                tracing::debug!(error = %chain(&error), "how containers are could not be asked");
                UndecidedReason::Unanswered
            })
        };
        timeout(PATIENCE, asked)
            .await
            .unwrap_or(Err(UndecidedReason::Unanswered))
    }

    /// `None` where nothing can be asked: no API server, no pod, or no name of it.
    async fn ask_kubelet(&self, check: &Check) -> Option<Result<Vec<Stored>, LookupError>> {
        let (reader, pod) = (self.reader.get()?, check.pod()?);
        let is_named = |pod: &Pod| pod.namespace.is_some() && pod.name.is_some();
        if is_named(pod) {
            return Some(reader.stored(pod).await);
        }
        // The kill was reported before the runtime had answered.
        let ids = check.containers();
        let mut named = ids.iter().filter_map(|id| self.resolver.names.get(id)?.pod);
        let pod = named.find(is_named)?;
        Some(reader.stored(&pod).await)
    }

    fn tell(&self, finding: &Arc<Mismatch>) {
        let container = &finding.status.container;
        tracing::info!(
            incident = finding.incident.id,
            verdict = match finding.verdict {
                MismatchKind::Missed => "missed",
                MismatchKind::Phantom => "phantom",
            },
            container = container.name.as_deref().unwrap_or(&container.id),
            reason = finding.status.reason,
            "Kubernetes' story is not the kernel's"
        );
        self.sinks.offer(&Report::Mismatch(Arc::clone(finding)));
    }
}

async fn sleep_until(next: Option<Instant>) {
    if let Some(next) = next {
        tokio::time::sleep_until(next.into()).await;
    }
}
