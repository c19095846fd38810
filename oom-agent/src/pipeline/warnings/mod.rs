//! What is done when a container comes near its limit.
//!
//! The [`Watcher`] compares on the sampler's thread, a task sends signals and reads pods' annotations, and
//! `delivery` names the container and sends the warning to each destination.

mod containers;
mod delivery;
mod watcher;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use memcg::is_initial_pid_namespace;
use service::escape;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, Receiver};
use tokio::task::{JoinError, JoinHandle, JoinSet, spawn_blocking};
use tokio::time::timeout;

use super::pod_annotations::{Found, PodAnnotations};
use crate::act::{Post, may_signal_other_users, signal_cgroup};
use crate::args::{Action, Run, Warnings};
use crate::enrich::Enricher;
use crate::host::Host;
use crate::metrics::WarningCounts;
use crate::report::Report;
use crate::sinks::Sinks;
use crate::warn::{ContainerCrossing, Containers, PodLookup, PodPolicy, Policy, SignalOutcome};
use containers::SharedContainers;
use delivery::Delivery;
use pressure::{FlightRecorder, Source};

pub(super) use watcher::Watcher;

/// Crossings, and pods to look up, between the sampler and the task: all containers may come at once.
const QUEUE: usize = 1024;

/// Pods that are looked up at once; the others wait.
const LOOKUPS: usize = 8;

/// Warnings that are delivered at once; of more only the signals are sent.
const DELIVERIES: usize = 1024;

/// POST requests at once; a slow host has no more.
const POSTS: usize = 64;

/// Signals and delivery. Dropped, the task goes on unattended.
pub(super) struct WarningTask(JoinHandle<()>);

struct Task {
    containers: SharedContainers,
    /// `None`: annotations are not read.
    annotations: Option<Arc<PodAnnotations>>,
    delivery: Arc<Delivery>,
    counts: WarningCounts,
}

/// The parts of the warnings.
pub(super) struct Parts {
    pub(super) node: Policy,
    pub(super) annotations: Option<PodAnnotations>,
    pub(super) host: Host,
    pub(super) enricher: Arc<Enricher>,
    pub(super) recorder: FlightRecorder,
    pub(super) sinks: Arc<Sinks>,
    /// Where warnings are posted to.
    pub(super) post: Option<Post>,
    pub(super) counts: WarningCounts,
}

/// Warns of flags that have no effect.
pub(super) fn warn_of_idle_flags(args: &Run) {
    let warnings = &args.warnings;
    let thresholds = warnings.thresholds();
    if warnings.does(Action::Bonk) && args.bonkers.bonker.is_empty() {
        tracing::warn!("--warn bonk: there is no --bonker to nudge");
    }
    if warnings.does(Action::Event) && args.no_kubernetes {
        tracing::warn!("--warn event: there are no Events with --no-kubernetes");
    }
    if warnings.does_any() && thresholds.warning.is_none() && thresholds.critical.is_none() {
        tracing::warn!("--warning never --critical never: only pods with annotations are warned");
    }
    if thresholds.never_warns() {
        tracing::warn!("the warning level is never reached: --warning is not below --critical");
    }
}

/// The node's policy; logs what keeps signals from being sent.
pub(super) fn node_policy(args: &Warnings) -> Policy {
    let wanted = args.does(Action::Signal);
    let visible = is_initial_pid_namespace();
    if wanted && !visible {
        tracing::error!(
            "no signals: the containers' processes are not in this PID namespace; the pod needs hostPID: true"
        );
    }
    if wanted && visible && !may_signal_other_users() {
        tracing::warn!("signals reach processes of this user only: CAP_KILL is missing");
    }
    Policy::for_node(args.thresholds(), wanted && visible)
}

// === impl Parts ===

impl Parts {
    /// The watcher of sweeps, and the task.
    pub(super) fn start(self, source: &Source) -> (Watcher, WarningTask) {
        let (crossings, crossed) = mpsc::channel(QUEUE);
        let (lookups, wanted) = mpsc::channel(QUEUE);
        let containers = Containers::new(self.node, self.annotations.is_some());
        let containers = SharedContainers::new(containers, self.recorder, source.clone());
        let delivery = Delivery {
            host: self.host,
            enricher: self.enricher,
            containers: containers.clone(),
            sinks: self.sinks,
            post: self.post,
            posts: Semaphore::new(POSTS),
            counts: self.counts.clone(),
        };
        let task = Task {
            containers: containers.clone(),
            annotations: self.annotations.map(Arc::new),
            delivery: Arc::new(delivery),
            counts: self.counts.clone(),
        };
        let watcher = Watcher {
            containers,
            crossings,
            lookups,
            counts: self.counts,
        };
        (
            watcher,
            WarningTask(tokio::spawn(task.run(crossed, wanted))),
        )
    }
}

// === impl WarningTask ===

impl WarningTask {
    /// Delivers what is queued, after the sampler has ended.
    pub(super) async fn finish(self, patience: Duration) {
        let mut task = self.0;
        if timeout(patience, &mut task).await.is_err() {
            task.abort();
            tracing::warn!("warnings in flight were given up");
        }
    }
}

// === impl Task ===

impl Task {
    async fn run(
        self,
        mut crossings: Receiver<ContainerCrossing>,
        mut lookups: Receiver<PodLookup>,
    ) {
        let (mut looking_up, mut delivering) = (JoinSet::new(), JoinSet::new());
        loop {
            tokio::select! {
                crossing = crossings.recv() => match crossing {
                    Some(crossing) => self.warn(crossing, &mut delivering).await,
                    None => break,
                },
                Some(lookup) = lookups.recv(), if looking_up.len() < LOOKUPS => {
                    let annotations = self.annotations.clone();
                    looking_up.spawn(async move { Some(annotations?.look_up(lookup).await) });
                }
                Some(found) = looking_up.join_next() => match found {
                    Ok(Some(found)) => self.finish_lookup(found, &mut delivering).await,
                    Ok(None) => {}
                    Err(error) => tracing::error!(%error, "a pod's annotations were lost"),
                },
                Some(delivered) = delivering.join_next() => log_lost(delivered),
            }
        }
        while let Some(delivered) = delivering.join_next().await {
            log_lost(delivered);
        }
    }

    /// One after the other: a container's signals come in the order of its levels.
    async fn warn(&self, crossing: ContainerCrossing, delivering: &mut JoinSet<()>) {
        let level = crossing.crossing.level;
        self.counts.warnings.add(level, 1);
        let signal = match crossing.policy.signal(level) {
            Some((target, signal)) => {
                let containers = self.containers.clone();
                let dir = containers.dir(&crossing.key);
                let send = move || signal_cgroup(&containers.processes, &dir, target, signal);
                let done = spawn_blocking(send).await;
                let done = done.unwrap_or_else(|error| Err(io::Error::other(error)));
                Some(SignalOutcome::new(signal, done))
            }
            None => None,
        };
        if let Some(signal) = &signal {
            self.counts.signalled.inc_by(signal.sent as u64);
            let failed = u64::from(signal.failed.is_some());
            self.counts.unsignalled.inc_by(failed);
        }
        if delivering.len() < DELIVERIES {
            delivering.spawn(Arc::clone(&self.delivery).deliver(crossing, signal));
        } else {
            self.counts.dropped.inc();
        }
    }

    async fn finish_lookup(&self, found: Found, delivering: &mut JoinSet<()>) {
        let is_known = matches!(found.policy, PodPolicy::Known(_));
        let crossings = {
            let forecast = |key: &_| self.containers.forecast(key);
            let mut containers = self.containers.lock();
            containers.finish_lookup(&found.uid, found.policy, forecast)
        };
        for crossing in crossings {
            self.warn(crossing, delivering).await;
        }
        let Some(bad) = found.bad else {
            if is_known {
                self.containers
                    .lock()
                    .set_annotation_errors(&found.uid, &[]);
            }
            return;
        };
        let mut containers = self.containers.lock();
        if !containers.set_annotation_errors(&found.uid, &bad.errors) {
            return;
        }
        drop(containers);
        self.counts.unheeded.inc_by(bad.errors.len() as u64);
        let pod = bad.pod.name.as_deref().unwrap_or_default();
        let sentence = bad.sentence();
        tracing::warn!(pod = %escape::terminal(pod), "{}", escape::terminal(&sentence));
        let report = Report::BadAnnotations(Arc::new(bad));
        self.delivery.sinks.offer(&report);
    }
}

fn log_lost(delivered: Result<(), JoinError>) {
    if let Err(error) = delivered {
        tracing::error!(%error, "a warning was lost");
    }
}
