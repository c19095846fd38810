//! From the kernel's records to every sink: the only room that sees all the others.

mod annotated;
mod discover;
mod front;
mod health;
mod names;
mod naming;
mod no_victim;
mod outlets;
mod owner;
mod resolve;
mod said;
mod sampling;
mod summary;
mod verdicts;
mod warnings;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use memcg::{CgroupNamespace, MemoryReader, NodeRoot};
use oom_capture::probe::{AttachOptions, Method, PinnedRecords, Probe, ProbeError};
use oom_capture::{AllowedVariables, Assembler, AutopsyWait};
use service::clock;
use service::error_chain::chain;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tracing_appender::non_blocking::ErrorCounter;

use crate::act::ConfigError;
use crate::admin::{self, ListenError};
use crate::args::{Action, LogLevel, Run};
use crate::host::Host;
use crate::incident::Incident;
use crate::metrics::{Metrics, Readings};
use crate::pressure::Sampler;
use crate::procfs::Procfs;
use crate::receipts::{Deliveries, Pinned};
use crate::signals::signals;
use crate::sinks::{Contradiction, Lines, Sinks, Style};
use discover::Runtimes;
use front::{Front, Seen};
use health::{Health, Meters, kernel_kills};
use names::Names;
use outlets::{Outlets, Parts};
use resolve::Resolver;
use said::{say_attached, say_degraded};
use sampling::Watched;
use summary::Summary;
use verdicts::Verdicts;
use warnings::Warner;

/// Incidents between the ring's readers and the rest; the kernel's ring takes what is more.
const QUEUE: usize = 1024;

/// Incidents whose container is being looked up at once.
const RESOLVING: usize = 64;

/// A victim of which there is only a mark is then looked for in /proc, where it still is: it sleeps uninterruptibly.
const UNREAD: Duration = Duration::from_millis(200);

/// The same where /proc is not the host's: its own records are all there is.
const UNREADABLE: Duration = Duration::from_secs(10);

/// Given to everything in flight when the agent is told to end.
const GRACE: Duration = Duration::from_secs(3);

/// Why `oom-agent run` could not start. `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Nothing can be captured.
    #[error("nothing can be captured on this host")]
    Probe(#[source] ProbeError),
    /// The threads that read the ring have ended: nothing is seen any more.
    #[error("the readers of the ring buffer have ended: start the agent again")]
    Blind,
    /// The admin port cannot be had.
    #[error("cannot serve metrics and health")]
    Listen(#[from] ListenError),
    /// The flags for bonkers contradict each other.
    #[error(transparent)]
    Bonker(#[from] Contradiction),
    /// Nobody would be warned.
    #[error("--warn and --warn-post take the sampler: leave out --sample off")]
    Unsampled,
    /// Warnings cannot be posted.
    #[error("cannot send the warnings of --warn-post")]
    Post(#[from] ConfigError),
    /// No thread to write lines.
    #[error("cannot start the thread that writes to standard output")]
    Lines(#[source] io::Error),
    /// Signals cannot be waited for.
    #[error("cannot listen for SIGTERM")]
    Signal(#[source] io::Error),
}

/// Runs until SIGTERM or SIGINT. `log` counts the lines that the log could not take.
pub async fn run(args: Run, log: ErrorCounter) -> Result<(), RunError> {
    let mut terminated = signals().map_err(RunError::Signal)?;
    let secrets = args.bonkers.secrets()?;
    let post = warnings::post(&args)?;
    warnings::say_idle(&args);
    let listener = admin::listen(args.http_listen).await?;
    let metrics = Arc::new(Metrics::default());
    let host = Host::read(args.node_name.clone());
    let lines = Arc::new(lines(&args, &metrics).map_err(RunError::Lines)?);
    let watched = Watched::default();
    let resolver = resolver(&args, &host, &watched, &metrics);
    let (seen, incidents) = mpsc::channel(QUEUE);
    let (sightings, no_victim) = no_victim::channel(host.page_size);
    let mut kills_before = None;
    let allow = AllowedVariables::new(args.env.clone());
    let environments = !allow.is_empty();
    let mut pinned = Pinned::default();
    let front = |method, kept: Option<Arc<PinnedRecords>>| {
        // What is killed from now on is seen.
        kills_before = kernel_kills();
        let attached_ns = clock::monotonic_ns();
        resolver.attached(attached_ns);
        metrics.attached(attached_ns);
        pinned = Pinned::new(kept);
        let expect = match method {
            Method::Classic => AutopsyWait::None,
            _ if resolver.reads_procfs() => AutopsyWait::UpTo(UNREAD),
            _ => AutopsyWait::UpTo(UNREADABLE),
        };
        let front = Front {
            assembler: Assembler::new(host.page_size, expect).with_allowed_variables(allow),
            resolver: Arc::clone(&resolver),
            lines: Arc::clone(&lines),
            metrics: Arc::clone(&metrics),
            pinned: pinned.clone(),
            lines_written: BTreeSet::new(),
            no_victim: sightings.clone(),
            seen,
        };
        front.taker()
    };
    let probe = Probe::attach(wanted(&args, environments), front).map_err(RunError::Probe)?;
    say_degraded(&probe, args.probe.into(), environments);
    if probe.out_of_memory.is_err() {
        resolver.count_limits();
    }
    let meters = Meters::new(probe.drops(), log, kills_before);
    let health = Health::new(
        Arc::clone(&metrics),
        Arc::clone(&resolver),
        meters.clone(),
        probe.liveness(),
        watched.clone(),
    );
    // Both before a runtime is needed.
    let runtimes = Arc::clone(&resolver.runtimes);
    tokio::spawn(Arc::clone(&resolver.names).ask(runtimes));
    tokio::spawn(Arc::clone(&health).list());
    let mut deliveries = Deliveries::open(args.state.as_deref(), &metrics.journal);
    let outlets = Parts {
        args: &args,
        secrets: &secrets,
        host: &host,
        lines: &lines,
        resolver: &resolver,
        watched: &watched,
        metrics: &metrics,
        meters: &meters,
        deliveries: &deliveries,
    };
    let Outlets {
        sinks,
        verdicts,
        sampling,
    } = outlets.start(post, sightings, no_victim);
    deliveries.replay(|sink, report, age| sinks.offer_again(sink, report, age));
    let pipeline = Pipeline {
        resolver,
        resolving: JoinSet::new(),
        lines,
        sinks,
        verdicts,
        metrics,
        pinned,
        deliveries,
    };
    say_attached(&host, &probe);
    let served = listener.map(|listener| tokio::spawn(health.serve(listener)));
    let running = Running {
        pipeline,
        probe,
        sampling,
        served,
        meters,
    };
    running
        .until_ended(incidents, &mut terminated, args.summary)
        .await
}

fn lines(args: &Run, metrics: &Metrics) -> io::Result<Lines> {
    let style = Style {
        mismatches: args.verdicts,
        warnings: args.warnings.does(Action::Line),
        ..Style::of_kills(args.output, TimeZone::system())
    };
    Lines::to_stdout(style, metrics.lines_unwritten.clone())
}

fn resolver(args: &Run, host: &Host, watched: &Watched, metrics: &Metrics) -> Arc<Resolver> {
    let found = discover::hierarchy(args.cgroupfs.as_deref());
    let (hierarchy, namespace) = match found {
        Ok((hierarchy, namespace)) => (Ok(hierarchy), namespace),
        Err(error) => (Err(error), CgroupNamespace::detect(|| None)),
    };
    let node = match &hierarchy {
        Ok(hierarchy) => hierarchy.node().clone(),
        Err(_) => NodeRoot::default(),
    };
    let procfs = Procfs::of_host(args.procfs.as_deref());
    let procfs = procfs.map(|procfs| procfs.with_namespace(namespace));
    Resolver::new(
        host.clone(),
        procfs,
        MemoryReader::new(
            hierarchy.map_err(|error| chain(&error).to_string()),
            "/proc",
        ),
        watched,
        node,
        Arc::new(Names::new(metrics.names.clone())),
        Arc::new(Runtimes::new(args.cri_endpoint.clone())),
    )
}

/// All that has to be ended in order.
struct Running {
    pipeline: Pipeline,
    probe: Probe,
    sampling: Option<(Sampler, Option<Warner>)>,
    served: Option<JoinHandle<()>>,
    meters: Meters,
}

// === impl Running ===

impl Running {
    async fn until_ended(
        self,
        mut incidents: mpsc::Receiver<Seen>,
        terminated: &mut mpsc::Receiver<()>,
        summary: bool,
    ) -> Result<(), RunError> {
        let Self {
            mut pipeline,
            probe,
            sampling,
            served,
            meters,
        } = self;
        let ended_by = pipeline.run(&mut incidents, terminated).await;
        tracing::info!("ending");
        let (sampler, warner) = sampling.unzip();
        // What is killed meanwhile is told, and /live answers. Readers that have ended were told of.
        let mut sampled = sampling::ending(sampler, GRACE);
        let _blind = pipeline.run(&mut incidents, &mut sampled).await;
        if let Some(served) = served {
            served.abort();
        }
        let kernel_kills = meters.kernel_kills();
        let ended = tokio::task::spawn_blocking(move || probe.detach());
        pipeline.drain(incidents).await;
        if let Err(error) = ended.await {
            tracing::error!(%error, "the probe ended badly");
        }
        if let Some(warner) = warner.flatten() {
            warner.finish(GRACE).await;
        }
        let metrics = Arc::clone(&pipeline.metrics);
        pipeline.finish().await;
        metrics.read(Readings {
            kernel_kills,
            ..meters.read()
        });
        Summary::of(&metrics).tell(summary);
        ended_by
    }
}

struct Pipeline {
    resolver: Arc<Resolver>,
    /// With whether the line is still to be written.
    resolving: JoinSet<(Incident, bool)>,
    lines: Arc<Lines>,
    sinks: Arc<Sinks>,
    verdicts: Verdicts,
    metrics: Arc<Metrics>,
    pinned: Pinned,
    deliveries: Deliveries,
}

// === impl Pipeline ===

impl Pipeline {
    /// Until it is told to end, or nothing can be seen any more.
    async fn run(
        &mut self,
        incidents: &mut mpsc::Receiver<Seen>,
        end: &mut mpsc::Receiver<()>,
    ) -> Result<(), RunError> {
        loop {
            tokio::select! {
                seen = incidents.recv(), if self.resolving.len() < RESOLVING => {
                    self.take(seen.ok_or(RunError::Blind)?);
                }
                Some(incident) = self.resolving.join_next() => self.named(incident),
                _ = end.recv() => return Ok(()),
            }
        }
    }

    /// Takes what is left.
    async fn drain(&mut self, mut incidents: mpsc::Receiver<Seen>) {
        while let Some(seen) = incidents.recv().await {
            self.take(seen);
        }
    }

    fn take(&mut self, seen: Seen) {
        match seen {
            Seen::Whole(incident, told_ns) => self.tell(&incident, told_ns),
            Seen::Unnamed(incident, line) => {
                let resolver = Arc::clone(&self.resolver);
                self.resolving
                    .spawn(async move { (resolver.name(*incident).await, line) });
            }
        }
    }

    fn named(&mut self, incident: Result<(Incident, bool), tokio::task::JoinError>) {
        match incident {
            Ok((incident, line)) => {
                if self.resolver.is_elsewhere(&incident) {
                    self.metrics.elsewhere.inc();
                    self.pinned.settle(&incident.stamps);
                    return;
                }
                let incident = Arc::new(incident);
                let told_ns = clock::monotonic_ns();
                if line {
                    self.lines.offer(&Arc::clone(&incident).into());
                }
                self.pinned.lines_written(&incident.stamps);
                self.tell(&incident, told_ns);
            }
            Err(error) => {
                self.metrics.untold();
                tracing::error!(%error, "an incident was lost");
            }
        }
    }

    fn tell(&self, incident: &Arc<Incident>, told_ns: u64) {
        let sinks = self.sinks.names();
        self.deliveries.record(incident, sinks, &self.pinned);
        self.sinks.offer_queued(&Arc::clone(incident).into());
        self.verdicts.offer(incident);
        self.metrics.told(incident, told_ns);
    }

    async fn finish(mut self) {
        let deadline = Instant::now() + GRACE;
        while let Ok(Some(incident)) =
            tokio::time::timeout_at(deadline, self.resolving.join_next()).await
        {
            self.named(incident);
        }
        self.verdicts.finish(GRACE).await;
        self.sinks.finish(GRACE).await;
        self.deliveries.finish(GRACE).await;
    }
}

fn wanted(args: &Run, environment: bool) -> AttachOptions<'_> {
    AttachOptions {
        tuned: true,
        method: args.probe.into(),
        logging: args.log_level == LogLevel::Trace,
        environment,
        pin: args.pin.as_deref(),
    }
}
