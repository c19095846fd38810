//! `oom-agent run`: wires the capture, the enrichment, the warnings, the status check and the sinks.

mod discover;
mod health;
mod no_victim;
mod outputs;
mod ring_handler;
mod sampling;
mod startup_log;
mod status_check;
mod summary;
mod warnings;

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::tz::TimeZone;
use memcg::{MemoryReader, NodeRoot};
use oom_capture::probe::{AttachOptions, Method, PinnedRecords, Probe, ProbeError};
use oom_capture::{AllowedVariables, Assembler, AutopsyWait};
use service::clock;
use service::error_chain::chain;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tracing_appender::non_blocking::ErrorCounter;

use crate::act::{ConfigError, Post};
use crate::admin::{self, ListenError};
use crate::args::{Action, LogLevel, Run};
use crate::enrich::{ContainerNames, Enricher, Runtimes};
use crate::host::Host;
use crate::incident::Incident;
use crate::k8s::PodReader;
use crate::metrics::{Metrics, Readings};
use crate::procfs::Procfs;
use crate::receipts::{Deliveries, Pinned};
use crate::signals::signals;
use crate::sinks::{Contradiction, Lines, Sinks, Style};
use health::{Health, Meters, kernel_kills};
use no_victim::Sightings;
use pressure::{SamplePeriod, Sampler};
use ring_handler::{EnrichedKill, RingHandler};
use sampling::Watched;
use startup_log::{log_attached, log_degraded};
use status_check::StatusChecker;
use summary::Summary;

/// The queue behind the ring's readers; the kernel's ring buffers what is more.
const QUEUE: usize = 1024;

/// Incidents whose containers are looked up at once.
const LOOKUPS: usize = 64;

/// How long a marked victim waits for its autopsy. Then it is read from /proc, where it still is: it sleeps
/// uninterruptibly.
const AUTOPSY_WAIT: Duration = Duration::from_millis(200);

/// The same where /proc is not the host's: the autopsy is the only source.
const AUTOPSY_WAIT_WITHOUT_PROCFS: Duration = Duration::from_secs(10);

/// How long each part may take to finish at shutdown.
const GRACE: Duration = Duration::from_secs(3);

/// Why `oom-agent run` could not start. `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// Nothing can be captured.
    #[error("nothing can be captured on this host")]
    Probe(#[source] ProbeError),
    /// The threads that read the ring have ended: no kill would be captured.
    #[error("the readers of the ring buffer have ended: start the agent again")]
    Blind,
    /// The admin port cannot be opened.
    #[error("cannot serve metrics and health")]
    Listen(#[from] ListenError),
    /// The flags for bonkers contradict each other.
    #[error(transparent)]
    Bonker(#[from] Contradiction),
    /// There would be no warnings.
    #[error("--warn and --warn-post take the sampler: leave out --sample off")]
    Unsampled,
    /// The configuration of `--warn-post` is invalid.
    #[error("cannot send the warnings of --warn-post")]
    Post(#[from] ConfigError),
    #[error("cannot start the thread that writes to standard output")]
    Lines(#[source] io::Error),
    #[error("cannot listen for SIGTERM")]
    Signal(#[source] io::Error),
}

/// Reads the file of `--warn-post`, if there is one; warnings need the sampler.
fn read_post(args: &Run) -> Result<Option<Post>, RunError> {
    if args.sample == SamplePeriod::Off && args.warnings.does_any() {
        return Err(RunError::Unsampled);
    }
    let file = args.warnings.warn_post.as_deref();
    Ok(file.map(Post::from_file).transpose()?)
}

/// Runs until SIGTERM or SIGINT. `log` counts dropped log lines.
pub(crate) async fn run(args: Run, log: ErrorCounter) -> Result<(), RunError> {
    let mut terminated = signals().map_err(RunError::Signal)?;
    let secrets = args.bonkers.secrets()?;
    let post = read_post(&args)?;
    warnings::warn_of_idle_flags(&args);
    let listener = admin::listen(args.reporter.http_listen).await?;
    let metrics = Arc::new(Metrics::default());
    let host = Host::read(args.node_name.clone());
    let lines = Arc::new(open_lines(&args, &metrics).map_err(RunError::Lines)?);
    let watched = Watched::default();
    let enricher = build_enricher(&args, &host, &watched, &metrics);
    let (kills, incidents) = mpsc::channel(QUEUE);
    let (sightings, no_victim) = Sightings::channel(host.page_size);
    let mut kills_before = None;
    let allow = AllowedVariables::new(args.env.clone());
    let environments = !allow.is_empty();
    let mut pinned = Pinned::default();
    let start_handler = |method, kept: Option<Arc<PinnedRecords>>| {
        // Every kill from now on is captured.
        kills_before = kernel_kills();
        let attached_ns = clock::monotonic_ns();
        enricher.set_attached(attached_ns);
        pinned = Pinned::new(kept);
        let expect = match method {
            Method::Classic => AutopsyWait::None,
            _ if enricher.reads_procfs() => AutopsyWait::UpTo(AUTOPSY_WAIT),
            _ => AutopsyWait::UpTo(AUTOPSY_WAIT_WITHOUT_PROCFS),
        };
        let handler = RingHandler {
            assembler: Assembler::new(host.page_size, expect).with_allowed_variables(allow),
            enricher: Arc::clone(&enricher),
            lines: Arc::clone(&lines),
            metrics: Arc::clone(&metrics),
            pinned: pinned.clone(),
            lines_written: BTreeSet::new(),
            no_victim: sightings.clone(),
            kills,
        };
        handler.into_callback()
    };
    let probe = Probe::attach(attach_options(&args, environments), start_handler)
        .map_err(RunError::Probe)?;
    log_degraded(&probe, args.probe.into(), environments);
    if probe.out_of_memory.is_err() {
        enricher.count_limits();
    }
    let mut deliveries = Deliveries::open(args.state.as_deref(), &metrics.journal);
    let pods = Arc::default();
    let queued = outputs::start_queued(
        &args,
        secrets,
        &host,
        &enricher,
        &metrics,
        &deliveries,
        &pods,
    );
    let node = Arc::new(Node {
        sinks: Sinks::new(Arc::clone(&lines), queued),
        meters: Meters {
            drops: probe.drops(),
            log,
            kills_before,
        },
        host,
        enricher,
        lines,
        metrics,
        watched,
        pods,
    });
    let health = Health::new(&node, probe.liveness());
    // The names should be known before the first kill.
    let enricher = &node.enricher;
    tokio::spawn(Arc::clone(&enricher.names).keep_current(Arc::clone(&enricher.runtimes)));
    tokio::spawn(Arc::clone(&health).list_running());
    tokio::spawn(no_victim::report_sightings(Arc::clone(&node), no_victim));
    let status_checker = StatusChecker::start(&node);
    let sampling = sampling::start(&args, &node, post, sightings);
    let sinks = &node.sinks;
    deliveries.replay_undelivered(|sink, report, age| sinks.offer_again(sink, report, age));
    log_attached(&node.host, &probe);
    let served =
        listener.map(|listener| AbortOnDropHandle::new(tokio::spawn(health.serve(listener))));
    let mut running = Running {
        node,
        incidents,
        lookups: JoinSet::new(),
        status_checker,
        pinned,
        deliveries,
    };
    let ended_by = running.run(&mut terminated).await;
    tracing::info!("ending");
    running
        .shut_down(probe, sampling, served, args.summary)
        .await;
    ended_by
}

fn open_lines(args: &Run, metrics: &Metrics) -> io::Result<Lines> {
    let style = Style {
        mismatches: args.verdicts,
        warnings: args.warnings.does(Action::Line),
        ..Style::kills_only(args.reporter.output, TimeZone::system())
    };
    Lines::to_stdout(style, metrics.lines_unwritten.clone())
}

fn build_enricher(args: &Run, host: &Host, watched: &Watched, metrics: &Metrics) -> Arc<Enricher> {
    let (hierarchy, namespace) = discover::find_hierarchy(args.cgroupfs.as_deref());
    let node = match &hierarchy {
        Ok(hierarchy) => hierarchy.node().clone(),
        Err(_) => NodeRoot::default(),
    };
    let procfs = Procfs::find_host(args.procfs.as_deref());
    let procfs = procfs.map(|procfs| procfs.with_namespace(namespace));
    Enricher::new(
        host.clone(),
        procfs,
        MemoryReader::new(
            hierarchy.map_err(|error| chain(&error).to_string()),
            "/proc",
        ),
        watched.recorder.clone(),
        node,
        Arc::new(ContainerNames::new(metrics.names.clone())),
        Arc::new(Runtimes::new(args.cri_endpoint.clone())),
    )
}

/// What the tasks of a node share.
struct Node {
    host: Host,
    enricher: Arc<Enricher>,
    lines: Arc<Lines>,
    sinks: Sinks,
    metrics: Arc<Metrics>,
    meters: Meters,
    watched: Watched,
    /// Set once there is an API server.
    pods: Arc<OnceLock<PodReader>>,
}

struct Running {
    node: Arc<Node>,
    incidents: mpsc::Receiver<EnrichedKill>,
    /// The flag: the line is still to be written.
    lookups: JoinSet<(Incident, bool)>,
    status_checker: StatusChecker,
    pinned: Pinned,
    deliveries: Deliveries,
}

// === impl Running ===

impl Running {
    /// Until `end`, or until the readers have ended.
    async fn run(&mut self, end: &mut mpsc::Receiver<()>) -> Result<(), RunError> {
        loop {
            tokio::select! {
                kill = self.incidents.recv(), if self.lookups.len() < LOOKUPS => {
                    self.handle_kill(kill.ok_or(RunError::Blind)?);
                }
                Some(incident) = self.lookups.join_next() => self.deliver_named(incident),
                _ = end.recv() => return Ok(()),
            }
        }
    }

    /// Ends the parts in order, so that what each has is still reported.
    async fn shut_down(
        mut self,
        probe: Probe,
        sampling: Option<(Sampler, Option<AbortOnDropHandle<()>>)>,
        served: Option<AbortOnDropHandle<()>>,
        summary: bool,
    ) {
        let (sampler, warner) = sampling.unzip();
        // Kills are still reported, and /live answers. That the readers have ended is known already.
        let _blind = self.run(&mut sampling::ending(sampler, GRACE)).await;
        drop(served);
        let kernel_kills = self.node.meters.kernel_kills();
        let ended = tokio::task::spawn_blocking(move || probe.detach());
        while let Some(kill) = self.incidents.recv().await {
            self.handle_kill(kill);
        }
        if let Err(error) = ended.await {
            tracing::error!(%error, "the probe ended badly");
        }
        if let Some(warner) = warner.flatten()
            && timeout(GRACE, warner).await.is_err()
        {
            tracing::warn!("warnings in flight were given up");
        }
        let deadline = Instant::now() + GRACE;
        while let Ok(Some(incident)) = timeout_at(deadline, self.lookups.join_next()).await {
            self.deliver_named(incident);
        }
        self.status_checker.finish(GRACE).await;
        self.node.sinks.finish(GRACE).await;
        self.deliveries.finish(GRACE).await;
        let Node {
            metrics, meters, ..
        } = &*self.node;
        metrics.external.update(|| Readings {
            kernel_kills,
            ..meters.read()
        });
        Summary(metrics).write(summary);
    }

    fn handle_kill(&mut self, kill: EnrichedKill) {
        match kill {
            EnrichedKill::Complete(incident, line_ns) => self.deliver(&incident, line_ns),
            EnrichedKill::Unnamed(incident, line) => {
                let enricher = Arc::clone(&self.node.enricher);
                self.lookups
                    .spawn(async move { (enricher.add_names(*incident).await, line) });
            }
        }
    }

    fn deliver_named(&mut self, incident: Result<(Incident, bool), tokio::task::JoinError>) {
        match incident {
            Ok((incident, line)) => {
                if self.node.enricher.is_elsewhere(&incident) {
                    self.node.metrics.elsewhere.inc();
                    self.pinned.settle(&incident.stamps);
                    return;
                }
                let incident = Arc::new(incident);
                let line_ns = clock::monotonic_ns();
                if line {
                    self.node.lines.offer(&Arc::clone(&incident).into());
                }
                self.pinned.mark_lines_written(&incident.stamps);
                self.deliver(&incident, line_ns);
            }
            Err(error) => {
                self.node.metrics.incidents_lost.inc();
                tracing::error!(%error, "an incident was lost");
            }
        }
    }

    fn deliver(&self, incident: &Arc<Incident>, line_ns: u64) {
        let Node { sinks, metrics, .. } = &*self.node;
        self.deliveries
            .record_incident(incident, sinks.queued_names(), &self.pinned);
        sinks.offer_queued(&Arc::clone(incident).into());
        self.status_checker.offer(incident);
        metrics.count_incident(incident, line_ns);
    }
}

fn attach_options(args: &Run, environment: bool) -> AttachOptions<'_> {
    AttachOptions {
        tuned: true,
        method: args.probe.into(),
        logging: args.log.log_level == LogLevel::Trace,
        environment,
        pin: args.pin.as_deref(),
    }
}
