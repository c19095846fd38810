//! Containers that come near their limits: what is done, and who is told.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::timeout;

use super::RunError;
use super::annotated::{Annotated, Found};
use super::resolve::Resolver;
use crate::act::{Notice, Post, Processes, likeliest, signal_cgroup};
use crate::args::{Action, Run, Warnings};
use crate::cgroup::Identity;
use crate::clock;
use crate::error_chain::chain;
use crate::escape;
use crate::host::Host;
use crate::incident::{Container, Pod};
use crate::k8s::Aside;
use crate::metrics::{SinkCounts, WarningCounts};
use crate::pressure::threshold::Scores;
use crate::pressure::{Every, Key, Pass, Recorder};
use crate::procfs;
use crate::sinks::Lines;
use crate::warn::{Containers, Crossed, Marks, Signal, Warning};

/// Crossings and pods to look up, between the sampler and the rest.
const QUEUE: usize = 256;

/// Pods that are looked up at once, and warnings that are told at once.
const LOOKUPS: usize = 8;
const TELLING: usize = 64;

/// Warnings that wait for one bonker.
pub(super) const BONKS: usize = 32;

/// The near end, in the sampler's thread.
pub(super) struct Watcher {
    all: Arc<Mutex<Containers>>,
    recorder: Recorder,
    cgroups: Cgroups,
    queue: Sender<Job>,
    counts: WarningCounts,
}

/// The far end. What it does is done without where this is dropped.
pub(super) struct Warner(JoinHandle<()>);

/// Where warnings go.
pub(super) struct Tell {
    pub(super) lines: Option<Arc<Lines>>,
    pub(super) events: Option<(Sender<Aside>, SinkCounts)>,
    pub(super) bonks: Vec<(Sender<Arc<Warning>>, SinkCounts)>,
    pub(super) post: Option<Post>,
}

/// Where the processes of a container are found.
#[derive(Clone)]
struct Cgroups {
    root: PathBuf,
    processes: Processes,
}

enum Job {
    /// What is this pod annotated with?
    Ask(String),
    Crossed(Box<Crossed>),
}

struct Task {
    all: Arc<Mutex<Containers>>,
    recorder: Recorder,
    cgroups: Cgroups,
    /// `None`: pods are not asked.
    annotated: Option<Arc<Annotated>>,
    complaints: Option<(Sender<Aside>, SinkCounts)>,
    telling: Arc<Telling>,
    counts: WarningCounts,
}

struct Telling {
    host: Host,
    resolver: Arc<Resolver>,
    cgroups: Cgroups,
    tell: Tell,
    counts: WarningCounts,
}

/// What the warnings are made of.
pub(super) struct Plan {
    pub(super) node: Marks,
    pub(super) annotated: Option<Annotated>,
    pub(super) host: Host,
    pub(super) resolver: Arc<Resolver>,
    pub(super) recorder: Recorder,
    pub(super) tell: Tell,
    /// For complaints about annotations, whether warnings have Events or not.
    pub(super) complaints: Option<(Sender<Aside>, SinkCounts)>,
    pub(super) counts: WarningCounts,
}

/// Where the warnings are posted to, if anywhere; that someone is warned at all takes the sampler.
pub(super) fn post(args: &Run) -> Result<Option<Post>, RunError> {
    if args.sample == Every::Off && args.warnings.does_any() {
        return Err(RunError::Unsampled);
    }
    let file = args.warnings.warn_post.as_deref();
    Ok(file.map(Post::from_file).transpose()?)
}

/// The node's marks; says what keeps signals from being sent.
pub(super) fn marks(args: &Warnings) -> Marks {
    let asked = args.does(Action::Signal);
    let seen = procfs::is_initial_pid_namespace();
    if asked && !seen {
        tracing::error!(
            "no signals: the containers' processes are not seen in this PID namespace; the pod needs hostPID: true"
        );
    }
    if asked && seen && !procfs::may_kill() {
        tracing::warn!("signals reach processes of this user only: CAP_KILL is missing");
    }
    Marks::of_node(args.settings(), asked && seen)
}

// === impl Plan ===

impl Plan {
    /// Both ends; `hierarchy` is where the memory controller's cgroups are.
    pub(super) fn start(self, hierarchy: &Path) -> (Watcher, Warner) {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let containers = Containers::new(self.node, self.annotated.is_some());
        let all = Arc::new(Mutex::new(containers));
        let cgroups = Cgroups {
            root: hierarchy.to_owned(),
            // It numbers processes as this process's PID namespace does, and so does cgroup.procs.
            processes: Processes::new("/proc"),
        };
        let task = Task {
            all: Arc::clone(&all),
            recorder: self.recorder.clone(),
            cgroups: cgroups.clone(),
            annotated: self.annotated.map(Arc::new),
            complaints: self.complaints,
            telling: Arc::new(Telling {
                host: self.host,
                resolver: self.resolver,
                cgroups: cgroups.clone(),
                tell: self.tell,
                counts: self.counts.clone(),
            }),
            counts: self.counts.clone(),
        };
        let watcher = Watcher {
            all,
            recorder: self.recorder,
            cgroups,
            queue,
            counts: self.counts,
        };
        (watcher, Warner(tokio::spawn(task.run(jobs))))
    }
}

// === impl Watcher ===

impl Watcher {
    /// Waits for nobody.
    pub(super) fn take(&mut self, pass: &Pass<'_>) {
        let mut all = lock(&self.all);
        let seen = all.take(
            pass,
            |key| self.cgroups.scores(key),
            |key| ahead(&self.recorder, key),
        );
        self.counts.at_level(all.at_level());
        drop(all);
        let crossed = seen
            .crossed
            .into_iter()
            .map(|one| Job::Crossed(Box::new(one)));
        for job in crossed.chain(seen.ask.into_iter().map(Job::Ask)) {
            if self.queue.try_send(job).is_err() {
                self.counts.dropped.inc();
            }
        }
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
    async fn run(self, mut jobs: Receiver<Job>) {
        let (mut lookups, mut telling) = (JoinSet::new(), JoinSet::new());
        loop {
            tokio::select! {
                job = jobs.recv(), if lookups.len() < LOOKUPS && telling.len() < TELLING => match job {
                    Some(Job::Ask(uid)) => {
                        let annotated = self.annotated.clone();
                        lookups.spawn(async move { Some(annotated?.look_up(uid).await) });
                    }
                    Some(Job::Crossed(crossed)) => self.act(*crossed, &mut telling).await,
                    None => break,
                },
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
        self.counts.warned(level);
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
        telling.spawn(Arc::clone(&self.telling).tell(crossed, signal));
    }

    async fn known(&self, found: Found, telling: &mut JoinSet<()>) {
        let crossed = {
            let mut all = lock(&self.all);
            let ahead = |key: &Key| ahead(&self.recorder, key);
            all.known(&found.uid, found.known, ahead)
        };
        for crossed in crossed {
            self.act(crossed, telling).await;
        }
        let Some(unheeded) = found.unheeded else {
            lock(&self.all).complained(&found.uid, &[]);
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
        if let Some((events, counts)) = &self.complaints {
            offer(events, Aside::Unheeded(Arc::new(unheeded)), counts);
        }
    }
}

// === impl Telling ===

impl Telling {
    async fn tell(self: Arc<Self>, crossed: Crossed, signal: Option<Signal>) {
        let Crossed {
            key,
            crossing,
            marks,
        } = crossed;
        let Some(id) = key.identity().container_id else {
            return;
        };
        let named = self.resolver.container(&id).await;
        let (container, pod) = named.unwrap_or_else(|| unnamed(id, key.identity()));
        let at_ns = crossing.usage.at_ns;
        let mark = marks.settings.mark(crossing.level);
        let warning = Arc::new(Warning {
            // Of this look at this cgroup; a mark of the kernel's ends in a pid.
            id: format!("{}-{at_ns}-w{}", self.host.boot, key.inode()),
            time: clock::wall(at_ns, clock::monotonic_ns(), Timestamp::now()),
            node: self.host.node.clone(),
            cgroup: key.path().to_owned(),
            container,
            pod,
            crossing,
            mark: mark.map_or_else(String::new, ToString::to_string),
            signal,
        });
        tracing::debug!(
            warning = warning.id,
            "{}",
            escape::terminal(&warning.sentence())
        );
        let Tell {
            lines,
            events,
            bonks,
            post,
        } = &self.tell;
        if let Some(lines) = lines {
            lines.offer_warning(&warning);
        }
        if let Some((events, counts)) = events {
            offer(events, Aside::Warning(Arc::clone(&warning)), counts);
        }
        for (bonks, counts) in bonks {
            offer(bonks, Arc::clone(&warning), counts);
        }
        if let Some(post) = post {
            self.post(post, &warning, key).await;
        }
    }

    async fn post(&self, post: &Post, warning: &Warning, key: Key) {
        let cgroups = self.cgroups.clone();
        let look = move || likeliest(&cgroups.processes, &cgroups.dir(&key));
        let (process, scores) = spawn_blocking(look)
            .await
            .ok()
            .flatten()
            .unwrap_or_default();
        let notice = Notice::new(&warning.crossing, scores, process, warning.time)
            .in_cgroup(&warning.cgroup)
            .of(
                &warning.node,
                Some(warning.container.clone()),
                warning.pod.clone(),
            );
        match post.send(&notice).await {
            Ok(()) => self.counts.posted.inc(),
            Err(error) => {
                tracing::warn!(warning = warning.id, host = %escape::terminal(post.host()), error = %chain(&error), "a POST request was not taken");
                self.counts.unposted.inc()
            }
        };
    }
}

// === impl Cgroups ===

impl Cgroups {
    fn dir(&self, key: &Key) -> PathBuf {
        self.root.join(key.path().trim_start_matches('/'))
    }

    /// Of whom the kernel would kill.
    fn scores(&self, key: &Key) -> Scores {
        let found = likeliest(&self.processes, &self.dir(key));
        found.map_or_else(Scores::default, |(_, scores)| scores)
    }
}

/// What the path tells.
fn unnamed(id: String, identity: Identity) -> (Container, Option<Pod>) {
    let container = Container {
        id,
        name: None,
        runtime: identity.runtime.map(|runtime| runtime.as_str().to_owned()),
    };
    let pod = identity.pod_uid.map(|uid| Pod {
        uid: Some(uid),
        ..Pod::default()
    });
    (container, pod)
}

fn ahead(recorder: &Recorder, key: &Key) -> Option<Duration> {
    recorder.forecast(key.path(), clock::monotonic_ns())
}

/// Never waits: a full queue drops it and counts it.
fn offer<T>(queue: &Sender<T>, told: T, counts: &SinkCounts) {
    counts.offered.inc();
    if queue.try_send(told).is_err() {
        counts.overflowed.inc();
    }
}

fn said(told: Result<(), tokio::task::JoinError>) {
    if let Err(error) = told {
        tracing::error!(%error, "a warning was lost");
    }
}

fn lock(all: &Mutex<Containers>) -> MutexGuard<'_, Containers> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}
