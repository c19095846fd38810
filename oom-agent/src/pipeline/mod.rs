//! `oom-agent run`: wires the capture, the enrichment, the warnings, the status check and the sinks.

mod discover;
mod health;
mod no_victim;
mod outputs;
mod pod_annotations;
mod ring_handler;
mod sampling;
mod startup_log;
mod status_check;
mod summary;
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

use crate::act::{ConfigError, Post};
use crate::admin::{self, ListenError};
use crate::args::{Action, LogLevel, Run};
use crate::enrich::{ContainerNames, Enricher, Runtimes};
use crate::host::Host;
use crate::incident::Incident;
use crate::metrics::{Metrics, Readings};
use crate::procfs::Procfs;
use crate::receipts::{Deliveries, Pinned};
use crate::signals::signals;
use crate::sinks::{Contradiction, Lines, Sinks, Style};
use health::{Health, Meters, kernel_kills};
use outputs::{Outputs, Parts};
use pressure::{SamplePeriod, Sampler};
use ring_handler::{EnrichedKill, RingHandler};
use sampling::Watched;
use startup_log::{log_attached, log_degraded};
use status_check::StatusChecker;
use summary::Summary;
use warnings::WarningTask;

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
#[non_exhaustive]
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
    let (sightings, no_victim) = no_victim::channel(host.page_size);
    let mut kills_before = None;
    let allow = AllowedVariables::new(args.env.clone());
    let environments = !allow.is_empty();
    let mut pinned = Pinned::default();
    let start_handler = |method, kept: Option<Arc<PinnedRecords>>| {
        // Every kill from now on is captured.
        kills_before = kernel_kills();
        let attached_ns = clock::monotonic_ns();
        enricher.set_attached(attached_ns);
        metrics.set_attached(attached_ns);
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
    let meters = Meters::new(probe.drops(), log, kills_before);
    let health = Health::new(
        Arc::clone(&metrics),
        Arc::clone(&enricher),
        meters.clone(),
        probe.liveness(),
        watched.clone(),
    );
    // The names should be known before the first kill.
    let runtimes = Arc::clone(&enricher.runtimes);
    tokio::spawn(Arc::clone(&enricher.names).keep_current(runtimes));
    tokio::spawn(Arc::clone(&health).list_running());
    let mut deliveries = Deliveries::open(args.state.as_deref(), &metrics.journal);
    let parts = Parts {
        args: &args,
        secrets: &secrets,
        host: &host,
        lines: &lines,
        enricher: &enricher,
        watched: &watched,
        metrics: &metrics,
        meters: &meters,
        deliveries: &deliveries,
    };
    let Outputs {
        sinks,
        status_checker,
        sampling,
    } = parts.start(post, sightings, no_victim);
    deliveries.replay_undelivered(|sink, report, age| sinks.offer_again(sink, report, age));
    let pipeline = Pipeline {
        enricher,
        lookups: JoinSet::new(),
        lines,
        sinks,
        status_checker,
        metrics,
        pinned,
        deliveries,
    };
    log_attached(&host, &probe);
    let served = listener.map(|listener| tokio::spawn(health.serve(listener)));
    let running = Running {
        pipeline,
        probe,
        sampling,
        served,
        meters,
    };
    running
        .run_to_shutdown(incidents, &mut terminated, args.summary)
        .await
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
    let found = discover::find_hierarchy(args.cgroupfs.as_deref());
    let (hierarchy, namespace) = match found {
        Ok((hierarchy, namespace)) => (Ok(hierarchy), namespace),
        Err(error) => (Err(error), CgroupNamespace::detect(|| None)),
    };
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

/// The parts that are shut down in order.
struct Running {
    pipeline: Pipeline,
    probe: Probe,
    sampling: Option<(Sampler, Option<WarningTask>)>,
    served: Option<JoinHandle<()>>,
    meters: Meters,
}

// === impl Running ===

impl Running {
    async fn run_to_shutdown(
        self,
        mut incidents: mpsc::Receiver<EnrichedKill>,
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
        // Kills are still reported, and /live answers. That the readers have ended is known already.
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
        metrics.update_readings(|| Readings {
            kernel_kills,
            ..meters.read()
        });
        Summary(&metrics).write(summary);
        ended_by
    }
}

struct Pipeline {
    enricher: Arc<Enricher>,
    /// The flag: the line is still to be written.
    lookups: JoinSet<(Incident, bool)>,
    lines: Arc<Lines>,
    sinks: Arc<Sinks>,
    status_checker: StatusChecker,
    metrics: Arc<Metrics>,
    pinned: Pinned,
    deliveries: Deliveries,
}

// === impl Pipeline ===

impl Pipeline {
    /// Until `end`, or until the readers have ended.
    async fn run(
        &mut self,
        incidents: &mut mpsc::Receiver<EnrichedKill>,
        end: &mut mpsc::Receiver<()>,
    ) -> Result<(), RunError> {
        loop {
            tokio::select! {
                kill = incidents.recv(), if self.lookups.len() < LOOKUPS => {
                    self.handle_kill(kill.ok_or(RunError::Blind)?);
                }
                Some(incident) = self.lookups.join_next() => self.deliver_named(incident),
                _ = end.recv() => return Ok(()),
            }
        }
    }

    async fn drain(&mut self, mut incidents: mpsc::Receiver<EnrichedKill>) {
        while let Some(kill) = incidents.recv().await {
            self.handle_kill(kill);
        }
    }

    fn handle_kill(&mut self, kill: EnrichedKill) {
        match kill {
            EnrichedKill::Complete(incident, line_ns) => self.deliver(&incident, line_ns),
            EnrichedKill::Unnamed(incident, line) => {
                let enricher = Arc::clone(&self.enricher);
                self.lookups
                    .spawn(async move { (enricher.add_names(*incident).await, line) });
            }
        }
    }

    fn deliver_named(&mut self, incident: Result<(Incident, bool), tokio::task::JoinError>) {
        match incident {
            Ok((incident, line)) => {
                if self.enricher.is_elsewhere(&incident) {
                    self.metrics.elsewhere.inc();
                    self.pinned.settle(&incident.stamps);
                    return;
                }
                let incident = Arc::new(incident);
                let line_ns = clock::monotonic_ns();
                if line {
                    self.lines.offer(&Arc::clone(&incident).into());
                }
                self.pinned.mark_lines_written(&incident.stamps);
                self.deliver(&incident, line_ns);
            }
            Err(error) => {
                self.metrics.incidents_lost.inc();
                tracing::error!(%error, "an incident was lost");
            }
        }
    }

    fn deliver(&self, incident: &Arc<Incident>, line_ns: u64) {
        let sinks = self.sinks.queued_names();
        self.deliveries
            .record_incident(incident, sinks, &self.pinned);
        self.sinks.offer_queued(&Arc::clone(incident).into());
        self.status_checker.offer(incident);
        self.metrics.count_incident(incident, line_ns);
    }

    async fn finish(mut self) {
        let deadline = Instant::now() + GRACE;
        while let Ok(Some(incident)) =
            tokio::time::timeout_at(deadline, self.lookups.join_next()).await
        {
            self.deliver_named(incident);
        }
        self.status_checker.finish(GRACE).await;
        self.sinks.finish(GRACE).await;
        self.deliveries.finish(GRACE).await;
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
