//! What is done when a container comes near its limit.
//!
//! [`Warner::handle_sweep`] compares on the sampler's thread; a task sends signals, reads pods' annotations
//! (`annotations`), names the container and sends the warning to each destination (`delivery`).

mod annotations;
mod delivery;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use memcg::{Processes, is_initial_pid_namespace};
use parking_lot::Mutex;
use service::{clock, escape};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio_util::task::AbortOnDropHandle;

use super::Node;
use crate::act::{Post, may_signal_other_users, read_worst_scores, signal_cgroup};
use crate::args::{Action, Run, Warnings};
use crate::report::Report;
use crate::warn::{ContainerCrossing, Containers, PodLookup, Policy, SignalOutcome};
use annotations::Found;
use pressure::{CgroupKey, Source, Sweep};

/// Crossings, and pods to look up, between the sampler and the task: all containers may come at once.
const QUEUE: usize = 1024;

/// Pods that are looked up at once; the others wait.
const LOOKUPS: usize = 8;

/// Warnings that are delivered at once; of more only the signals are sent.
const DELIVERIES: usize = 1024;

/// POST requests at once; a slow host has no more.
const POSTS: usize = 64;

/// Warns of containers near their limits.
struct Warner {
    node: Arc<Node>,
    /// The node's own.
    policy: Policy,
    containers: Mutex<Containers>,
    source: Source,
    processes: Processes,
    /// Where warnings are posted to.
    post: Option<Post>,
    posts: Semaphore,
    /// The role may not read pods; logged once.
    refused: AtomicBool,
}

/// From the sampler's thread to the task.
struct Queues {
    crossings: Sender<ContainerCrossing>,
    lookups: Sender<PodLookup>,
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
fn node_policy(args: &Warnings) -> Policy {
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

/// The consumer of sweeps, and the task.
pub(super) fn start(
    node: &Arc<Node>,
    args: &Warnings,
    post: Option<Post>,
    source: &Source,
) -> (impl FnMut(&Sweep<'_>) + use<>, AbortOnDropHandle<()>) {
    let (crossings, crossed) = mpsc::channel(QUEUE);
    let (lookups, wanted) = mpsc::channel(QUEUE);
    let policy = node_policy(args);
    // Warnings that are only counted need no annotations.
    let containers = Containers::new(policy.clone(), args.does_any());
    let warner = Arc::new(Warner {
        node: Arc::clone(node),
        policy,
        containers: Mutex::new(containers),
        source: source.clone(),
        // It numbers processes as this process's PID namespace does, and so does cgroup.procs.
        processes: Processes::new("/proc"),
        post,
        posts: Semaphore::new(POSTS),
        refused: AtomicBool::new(false),
    });
    let task = tokio::spawn(Arc::clone(&warner).run(crossed, wanted));
    let queues = Queues { crossings, lookups };
    let on_sweep = move |sweep: &Sweep<'_>| warner.handle_sweep(sweep, &queues);
    (on_sweep, AbortOnDropHandle::new(task))
}

// === impl Warner ===

impl Warner {
    /// Never waits: what finds no room is dropped and counted.
    fn handle_sweep(&self, sweep: &Sweep<'_>, queues: &Queues) {
        let counts = &self.node.metrics.warnings;
        // Of the process that the kernel would kill first.
        let scores = |key: &_| read_worst_scores(&self.processes, &self.dir(key));
        let mut containers = self.containers.lock();
        let outcome = containers.update(
            sweep,
            |key| scores(key).unwrap_or_default(),
            |key| self.forecast(key),
        );
        counts.set_at_level(containers.count_at_levels());
        drop(containers);
        let mut dropped: u64 = 0;
        for crossing in outcome.crossings {
            if let Err(error) = queues.crossings.try_send(crossing) {
                self.containers.lock().retry(&error.into_inner());
                dropped += 1;
            }
        }
        for lookup in outcome.lookups {
            dropped += u64::from(queues.lookups.try_send(lookup).is_err());
        }
        if dropped > 0 {
            counts.dropped.inc_by(dropped);
            tracing::warn!(dropped, "warnings were dropped: their queue is full");
        }
    }

    /// Ends with the sampler, and delivers what is queued.
    async fn run(
        self: Arc<Self>,
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
                    looking_up.spawn(Arc::clone(&self).look_up(lookup));
                }
                Some(found) = looking_up.join_next() => match found {
                    Ok(found) => self.finish_lookup(found, &mut delivering).await,
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
    async fn warn(self: &Arc<Self>, crossing: ContainerCrossing, delivering: &mut JoinSet<()>) {
        let counts = &self.node.metrics.warnings;
        let level = crossing.crossing.level;
        counts.warnings.add(level, 1);
        let signal = match crossing.policy.signal(level) {
            Some((target, signal)) => {
                let (warner, dir) = (Arc::clone(self), self.dir(&crossing.key));
                let send = move || signal_cgroup(&warner.processes, &dir, target, signal);
                let done = spawn_blocking(send).await;
                let done = done.unwrap_or_else(|error| Err(io::Error::other(error)));
                Some(SignalOutcome::new(signal, done))
            }
            None => None,
        };
        if let Some(signal) = &signal {
            counts.signalled.inc_by(signal.sent as u64);
            let failed = u64::from(signal.failed.is_some());
            counts.unsignalled.inc_by(failed);
        }
        if delivering.len() < DELIVERIES {
            delivering.spawn(Arc::clone(self).deliver(crossing, signal));
        } else {
            counts.dropped.inc();
        }
    }

    async fn finish_lookup(self: &Arc<Self>, found: Found, delivering: &mut JoinSet<()>) {
        let Found {
            uid,
            policy,
            errors,
        } = found;
        // A lookup that failed leaves the errors that are known.
        let keeps_errors = policy.is_none();
        let crossings = self
            .containers
            .lock()
            .finish_lookup(&uid, policy, |key| self.forecast(key));
        for crossing in crossings {
            self.warn(crossing, delivering).await;
        }
        let all = errors.as_ref().map_or(&[][..], |bad| &bad.errors);
        if keeps_errors || !self.containers.lock().set_annotation_errors(&uid, all) {
            return;
        }
        let Some(bad) = errors else { return };
        let unusable = &self.node.metrics.warnings.unusable;
        unusable.inc_by(bad.errors.len() as u64);
        let pod = bad.pod.name.as_deref().unwrap_or_default();
        let sentence = bad.sentence();
        tracing::warn!(pod = %escape::terminal(pod), "{}", escape::terminal(&sentence));
        let report = Report::BadAnnotations(Arc::new(bad));
        self.node.sinks.offer(&report);
    }

    fn forecast(&self, key: &CgroupKey) -> Option<Duration> {
        let recorder = &self.node.watched.recorder;
        recorder.forecast(key.path(), clock::monotonic_ns())
    }

    fn dir(&self, key: &CgroupKey) -> PathBuf {
        self.source.dir(key.path())
    }
}

fn log_lost(delivered: Result<(), JoinError>) {
    if let Err(error) = delivered {
        tracing::error!(%error, "a warning was lost");
    }
}
