//! Containers that come near their limits: what is done, and who is told.

mod telling;
mod watcher;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use memcg::is_initial_pid_namespace;
use service::{clock, escape};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, Receiver};
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::timeout;

use super::RunError;
use super::annotated::{Annotated, Found};
use super::resolve::Resolver;
use crate::act::{Post, signal_cgroup};
use crate::args::{Action, Run, Warnings};
use crate::host::Host;
use crate::metrics::WarningCounts;
use crate::procfs;
use crate::report::Report;
use crate::sinks::Sinks;
use crate::warn::{Ask, Containers, Crossed, Known, Policy, Signal};
use pressure::{CgroupKey, FlightRecorder, SamplePeriod, Source};
use telling::Telling;
use watcher::Cgroups;

pub(super) use watcher::Watcher;

/// Crossings, and pods to look up, between the sampler and the rest: all that are watched may come at once.
const QUEUE: usize = 1024;

/// Pods that are looked up at once; the others wait.
const LOOKUPS: usize = 8;

/// Warnings whose names are looked up at once; of more only the signals are sent.
const TELLING: usize = 1024;

/// POST requests at once; a slow host has no more.
const POSTS: usize = 64;

/// The far end. What it does is done without where this is dropped.
pub(super) struct Warner(JoinHandle<()>);

struct Task {
    all: Arc<Mutex<Containers>>,
    recorder: FlightRecorder,
    cgroups: Cgroups,
    /// `None`: pods are not asked.
    annotated: Option<Arc<Annotated>>,
    telling: Arc<Telling>,
    counts: WarningCounts,
}

/// What the warnings are made of.
pub(super) struct Plan {
    pub(super) node: Policy,
    pub(super) annotated: Option<Annotated>,
    pub(super) host: Host,
    pub(super) resolver: Arc<Resolver>,
    pub(super) recorder: FlightRecorder,
    pub(super) sinks: Arc<Sinks>,
    /// Where warnings are posted to.
    pub(super) post: Option<Post>,
    pub(super) counts: WarningCounts,
}

/// Where the warnings are posted to, if anywhere; that someone is warned at all takes the sampler.
pub(super) fn post(args: &Run) -> Result<Option<Post>, RunError> {
    if args.sample == SamplePeriod::Off && args.warnings.does_any() {
        return Err(RunError::Unsampled);
    }
    let file = args.warnings.warn_post.as_deref();
    Ok(file.map(Post::from_file).transpose()?)
}

/// What was asked for and comes to nothing.
pub(super) fn warn_of_idle_flags(args: &Run) {
    let warnings = &args.warnings;
    let settings = warnings.settings();
    if warnings.does(Action::Bonk) && args.bonkers.bonker.is_empty() {
        tracing::warn!("--warn bonk: there is no --bonker to nudge");
    }
    if warnings.does(Action::Event) && args.no_kubernetes {
        tracing::warn!("--warn event: there are no Events with --no-kubernetes");
    }
    if warnings.does_any() && settings.warning.is_none() && settings.critical.is_none() {
        tracing::warn!("--warning never --critical never: only pods with annotations are warned");
    }
    if settings.never_warns() {
        tracing::warn!("nothing is warned of: --warning is not below --critical");
    }
}

/// The node's marks; says what keeps signals from being sent.
pub(super) fn marks(args: &Warnings) -> Policy {
    let asked = args.does(Action::Signal);
    let seen = is_initial_pid_namespace();
    if asked && !seen {
        tracing::error!(
            "no signals: the containers' processes are not seen in this PID namespace; the pod needs hostPID: true"
        );
    }
    if asked && seen && !procfs::may_kill() {
        tracing::warn!("signals reach processes of this user only: CAP_KILL is missing");
    }
    Policy::of_node(args.settings(), asked && seen)
}

// === impl Plan ===

impl Plan {
    /// Both ends.
    pub(super) fn start(self, source: &Source) -> (Watcher, Warner) {
        let (crossed, crossings) = mpsc::channel(QUEUE);
        let (ask, asked) = mpsc::channel(QUEUE);
        let containers = Containers::new(self.node, self.annotated.is_some());
        let all = Arc::new(Mutex::new(containers));
        let cgroups = Cgroups::new(source.clone());
        let task = Task {
            all: Arc::clone(&all),
            recorder: self.recorder.clone(),
            cgroups: cgroups.clone(),
            annotated: self.annotated.map(Arc::new),
            telling: Arc::new(Telling {
                host: self.host,
                resolver: self.resolver,
                cgroups: cgroups.clone(),
                sinks: self.sinks,
                post: self.post,
                posts: Semaphore::new(POSTS),
                counts: self.counts.clone(),
            }),
            counts: self.counts.clone(),
        };
        let watcher = Watcher {
            all,
            recorder: self.recorder,
            cgroups,
            crossed,
            ask,
            counts: self.counts,
        };
        (watcher, Warner(tokio::spawn(task.run(crossings, asked))))
    }
}

// === impl Warner ===

impl Warner {
    /// After the sampler has ended: tells what was seen.
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
    async fn run(self, mut crossings: Receiver<Crossed>, mut asked: Receiver<Ask>) {
        let (mut lookups, mut telling) = (JoinSet::new(), JoinSet::new());
        loop {
            tokio::select! {
                crossed = crossings.recv() => match crossed {
                    Some(crossed) => self.act(crossed, &mut telling).await,
                    None => break,
                },
                Some(ask) = asked.recv(), if lookups.len() < LOOKUPS => {
                    let annotated = self.annotated.clone();
                    lookups.spawn(async move { Some(annotated?.look_up(ask).await) });
                }
                Some(found) = lookups.join_next() => match found {
                    Ok(Some(found)) => self.known(found, &mut telling).await,
                    Ok(None) => {}
                    Err(error) => tracing::error!(%error, "a pod's annotations were lost"),
                },
                Some(told) = telling.join_next() => said(told),
            }
        }
        while let Some(told) = telling.join_next().await {
            said(told);
        }
    }

    /// One after the other: a container's signals come in the order of its levels.
    async fn act(&self, crossed: Crossed, telling: &mut JoinSet<()>) {
        let level = crossed.crossing.level;
        self.counts.count_warning(level);
        let signal = match crossed.marks.signal(level) {
            Some((whom, signal)) => {
                let cgroups = self.cgroups.clone();
                let dir = cgroups.dir(&crossed.key);
                let send = move || signal_cgroup(&cgroups.processes, &dir, whom, signal);
                let done = spawn_blocking(send).await;
                let done = done.unwrap_or_else(|error| Err(std::io::Error::other(error)));
                Some(Signal::of(signal, done))
            }
            None => None,
        };
        if let Some(signal) = &signal {
            self.counts.signalled.inc_by(signal.sent as u64);
            let failed = u64::from(signal.failed.is_some());
            self.counts.unsignalled.inc_by(failed);
        }
        if telling.len() < TELLING {
            telling.spawn(Arc::clone(&self.telling).tell(crossed, signal));
        } else {
            self.counts.dropped.inc();
        }
    }

    async fn known(&self, found: Found, telling: &mut JoinSet<()>) {
        let heard = matches!(found.known, Known::Policy(_));
        let crossed = {
            let mut all = lock(&self.all);
            let ahead = |key: &CgroupKey| ahead(&self.recorder, key);
            all.known(&found.uid, found.known, ahead)
        };
        for crossed in crossed {
            self.act(crossed, telling).await;
        }
        let Some(unheeded) = found.unheeded else {
            if heard {
                lock(&self.all).complained(&found.uid, &[]);
            }
            return;
        };
        if !lock(&self.all).complained(&found.uid, &unheeded.complaints) {
            return;
        }
        self.counts
            .unheeded
            .inc_by(unheeded.complaints.len() as u64);
        let pod = unheeded.pod.name.as_deref().unwrap_or_default();
        let says = unheeded.sentence();
        tracing::warn!(pod = %escape::terminal(pod), "{}", escape::terminal(&says));
        let report = Report::BadAnnotations(Arc::new(unheeded));
        self.telling.sinks.offer(&report);
    }
}

fn ahead(recorder: &FlightRecorder, key: &CgroupKey) -> Option<Duration> {
    recorder.forecast(key.path(), clock::monotonic_ns())
}

fn said(told: Result<(), tokio::task::JoinError>) {
    if let Err(error) = told {
        tracing::error!(%error, "a warning was lost");
    }
}

fn lock(all: &Mutex<Containers>) -> MutexGuard<'_, Containers> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}
