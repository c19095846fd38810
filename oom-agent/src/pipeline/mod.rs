//! From the kernel's records to every sink: the only room that sees all the others.

mod discover;
mod resolve;
mod summary;

use std::future::pending;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use oom_agent_ebpf::Record;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::args::{LogLevel, Run};
use crate::clock;
use crate::host::Host;
use crate::incident::{Assembler, Expect, Found, Incident};
use crate::probe::{Method, Probe, ProbeError};
use crate::procfs::Procfs;
use crate::sinks::{Lines, Sink, start_bonker, start_events};
use crate::vmstat;
use discover::Runtime;
use resolve::Resolver;
use summary::Summary;

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
    /// No thread to write lines.
    #[error("cannot start the thread that writes to standard output")]
    Lines(#[source] io::Error),
    /// Signals cannot be waited for.
    #[error("cannot listen for SIGTERM")]
    Signal(#[source] io::Error),
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(args: Run) -> Result<(), RunError> {
    let mut terminated = signals().map_err(RunError::Signal)?;
    let host = Host::read(args.node_name.clone());
    let logging = args.log_level == LogLevel::Trace;
    let (probe, mut records) = Probe::attach(args.probe, logging).map_err(RunError::Probe)?;
    say_degraded(&probe, args.probe);

    let lines =
        Lines::start(args.output, TimeZone::system(), io::stdout()).map_err(RunError::Lines)?;
    let procfs = Procfs::of_host();
    let expect = match probe.method {
        Method::Classic => Expect::Nothing,
        _ if procfs.is_some() => Expect::Autopsies(UNREAD),
        _ => Expect::Autopsies(UNREADABLE),
    };
    let runtime = Runtime::new(args.cri_endpoint.clone());
    let resolver = Arc::new(Resolver::new(host.clone(), procfs, runtime));
    let warming = Arc::clone(&resolver);
    tokio::spawn(async move { warming.warm_up().await });
    let sinks = sinks(&args, &host);
    let kills_before = kernel_kills();
    let mut pipeline = Pipeline {
        assembler: Assembler::new(host.page_size, expect),
        resolver,
        resolving: JoinSet::new(),
        lines,
        sinks,
        summary: Summary::default(),
    };
    tracing::info!(
        node = host.node,
        probe = ?probe.method,
        out_of_memory = probe.out_of_memory.as_ref().copied().unwrap_or("inferred"),
        "attached"
    );
    let ended_by = pipeline.run(&mut records, &mut terminated).await;
    tracing::info!("ending");
    pipeline.summary.kernel_kills = kernel_kills()
        .zip(kills_before)
        .map(|(now, before)| now.saturating_sub(before));
    let ended = tokio::task::spawn_blocking(move || probe.end());
    pipeline.drain(records).await;
    match ended.await {
        Ok(lost) => pipeline.summary.lost = lost,
        Err(error) => tracing::error!(%error, "cannot tell what was lost"),
    }
    pipeline.finish(args.summary).await;
    ended_by
}

struct Pipeline {
    assembler: Assembler,
    resolver: Arc<Resolver>,
    resolving: JoinSet<Incident>,
    lines: Lines,
    sinks: Vec<Sink>,
    summary: Summary,
}

// === impl Pipeline ===

impl Pipeline {
    /// Until it is told to end, or nothing can be seen any more.
    async fn run(
        &mut self,
        records: &mut mpsc::Receiver<Record>,
        end: &mut mpsc::Receiver<()>,
    ) -> Result<(), RunError> {
        loop {
            let deadline = self.assembler.deadline_ns();
            tokio::select! {
                record = records.recv(), if self.resolving.len() < RESOLVING => {
                    let Some(record) = record else {
                        return Err(RunError::Blind);
                    };
                    let found = self.assembler.take(record, clock::monotonic_ns());
                    self.resolve(found);
                }
                () = sleep_until(deadline) => {
                    let found = self.assembler.expire(clock::monotonic_ns());
                    self.resolve(found);
                }
                Some(incident) = self.resolving.join_next() => self.tell(incident),
                _ = end.recv() => return Ok(()),
            }
        }
    }

    /// Takes what is left, and waits for nothing that is still to come.
    async fn drain(&mut self, mut records: mpsc::Receiver<Record>) {
        while let Some(record) = records.recv().await {
            let found = self.assembler.take(record, clock::monotonic_ns());
            self.resolve(found);
        }
        let found = self.assembler.end();
        self.resolve(found);
    }

    fn resolve(&mut self, found: Vec<Found>) {
        for found in found {
            self.summary.found(&found);
            let resolver = Arc::clone(&self.resolver);
            self.resolving
                .spawn(async move { resolver.resolve(found).await });
        }
    }

    fn tell(&mut self, incident: Result<Incident, tokio::task::JoinError>) {
        let incident = match incident {
            Ok(incident) => Arc::new(incident),
            Err(error) => {
                self.summary.untold += 1;
                tracing::error!(%error, "an incident was lost");
                return;
            }
        };
        // First of all, what may wait for nobody: the queues.
        for sink in &self.sinks {
            sink.offer(&incident);
        }
        self.summary.told(&incident);
        self.lines.offer(&incident);
    }

    async fn finish(mut self, tell: bool) {
        let deadline = Instant::now() + GRACE;
        while let Ok(Some(incident)) =
            tokio::time::timeout_at(deadline, self.resolving.join_next()).await
        {
            self.tell(incident);
        }
        let mut endings = JoinSet::new();
        for sink in self.sinks.drain(..) {
            let (name, counts) = (sink.name().to_owned(), sink.counts());
            self.summary.sinks.push((name, counts));
            endings.spawn(timeout(GRACE, sink.finish()));
        }
        self.summary.unwritten = self.lines.finish(GRACE).await;
        while endings.join_next().await.is_some() {}
        self.summary.log();
        // Standard error may be closed; the log has said it too.
        if tell && write!(io::stderr(), "{}", self.summary).is_err() {
            tracing::debug!("the summary could not be written");
        }
    }
}

fn sinks(args: &Run, host: &Host) -> Vec<Sink> {
    let mut sinks: Vec<Sink> = args.bonker.iter().map(start_bonker).collect();
    if args.no_kubernetes {
        tracing::info!("no Events: --no-kubernetes");
    } else {
        let connect = discover::recorder(args.kubeconfig.clone(), host.node.clone());
        sinks.push(start_events(connect));
    }
    sinks
}

fn kernel_kills() -> Option<u64> {
    vmstat::oom_kills(Path::new("/proc"))
        .inspect_err(|error| tracing::warn!(%error, "cannot read oom_kill of /proc/vmstat"))
        .ok()
}

fn say_degraded(probe: &Probe, wanted: Method) {
    if let Some(error) = &probe.no_btf {
        tracing::warn!(
            error = %crate::error_chain::chain(error),
            "no BTF: victims are read from /proc, which loses those that end first"
        );
    } else if wanted == Method::Classic {
        tracing::warn!(
            "--probe classic: victims are read from /proc, which loses those that end first"
        );
    }
    if let Err(errors) = &probe.out_of_memory
        && probe.method == Method::Btf
    {
        let reasons: Vec<String> = errors
            .iter()
            .map(|error| crate::error_chain::chain(error).to_string())
            .collect();
        tracing::warn!(
            reasons = reasons.join("; "),
            "out_of_memory cannot be probed here: whose limit was hit is inferred from the cgroups' usage"
        );
    }
    for member in &probe.missing {
        tracing::warn!(
            member,
            "this kernel's BTF lacks a member: what is read there is degraded"
        );
    }
}

/// SIGTERM and SIGINT, as messages.
fn signals() -> io::Result<mpsc::Receiver<()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // A receiver that is gone has ended already.
        let _ended = sender.send(()).await;
    });
    Ok(receiver)
}

/// Sleeps until the kernel's clock shows `deadline_ns`; for ever without one.
async fn sleep_until(deadline_ns: Option<u64>) {
    match deadline_ns {
        Some(deadline) => {
            let left = deadline.saturating_sub(clock::monotonic_ns());
            tokio::time::sleep(Duration::from_nanos(left)).await;
        }
        None => pending().await,
    }
}
