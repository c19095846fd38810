//! `oom-agent sidecar`: watches the containers of its own pod by its shared PID namespace, or one
//! cgroup, without BPF and without Kubernetes.

mod exposition;
mod files;
mod processes;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use service::{clock, escape};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::act::{ConfigError, LevelSignals, Notice, NoticeProcess, Post};
use crate::admin::{self, Answer, Endpoint};
use crate::args::Sidecar;
use crate::metrics::Counter;
use crate::signals::signals;
use exposition::Exposition;
use files::FilesError;
use processes::{ProcessCrossing, WatchedProcesses};
use service::error_chain::chain;

/// Notices that wait for the other side; more are dropped and counted.
const NOTICES: usize = 64;

/// Given to notices in flight at the end.
const GRACE: Duration = Duration::from_secs(3);

/// After a signal or notice that failed, the next try, as with `OOMHero`.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why `oom-agent sidecar` could not start. `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SidecarError {
    #[error("cannot send notices by HTTP")]
    Post(#[from] ConfigError),
    #[error("cannot watch the cgroup of --cgroup")]
    Cgroup(#[from] FilesError),
    /// All processes of the host would be signalled.
    #[error(
        "this is the host's PID namespace, and none of its processes is to be signalled: run in a pod with shareProcessNamespace, or name a --cgroup"
    )]
    Host,
    #[error("cannot listen for SIGTERM")]
    Signal(#[source] std::io::Error),
}

/// What is done about a crossing.
enum Action {
    Signal(LevelSignals),
    Post {
        queue: mpsc::Sender<Notice>,
        task: JoinHandle<()>,
    },
}

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(args: Sidecar) -> Result<(), SidecarError> {
    if args.cgroup.is_none() && memcg::is_initial_pid_namespace() {
        return Err(SidecarError::Host);
    }
    if args.cgroup.is_none() && std::process::id() == 1 {
        tracing::warn!(
            "no process but this one is in this PID namespace: the pod needs shareProcessNamespace: true"
        );
    }
    if args.thresholds().never_warns() {
        tracing::warn!("the warning level is never reached: --warning is not below --critical");
    }
    let mut terminated = signals().map_err(SidecarError::Signal)?;
    let exposition = Arc::new(Mutex::new(Exposition::default()));
    let action = Action::new(&args, &exposition)?;
    let mut watched =
        WatchedProcesses::new(args.thresholds(), args.cgroup.as_deref(), RETRY_AFTER)?;
    let served = serve(&args, &exposition).await;
    tracing::info!(
        warning = %args.warning,
        critical = %args.critical,
        cooldown = ?args.cooldown_interval,
        by = %action,
        "watching the processes of this pod"
    );
    let mut ticks = interval(args.loop_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = terminated.recv() => break,
            _ = ticks.tick() => {}
        }
        for crossing in watched.sweep(clock::monotonic_ns()) {
            let done = action.act(&crossing);
            exposition
                .lock()
                .count_crossing(crossing.crossing.level, done);
            if !done {
                watched.retry(&crossing);
            }
        }
        if let Some(metrics) = watched.fresh_metrics() {
            exposition.lock().set_processes(metrics);
        }
    }
    tracing::info!("ending");
    drop(served);
    action.finish().await;
    Ok(())
}

/// `OOMHero` goes on without its port, too.
async fn serve(
    args: &Sidecar,
    exposition: &Arc<Mutex<Exposition>>,
) -> Option<AbortOnDropHandle<()>> {
    let listener = match admin::listen(Some(args.http_listen)).await {
        Ok(listener) => listener?,
        Err(error) => {
            tracing::warn!(error = %chain(&error), "no metrics");
            return None;
        }
    };
    let shared = Arc::clone(exposition);
    let answer = move |endpoint| {
        let answer = match endpoint {
            Endpoint::Metrics => Answer::Metrics {
                content_type: exposition::CONTENT_TYPE,
                text: shared.lock().to_string(),
            },
            Endpoint::Live | Endpoint::Ready => Answer::Yes,
        };
        std::future::ready(answer)
    };
    let served = admin::serve(listener, answer, Counter::default());
    Some(AbortOnDropHandle::new(tokio::spawn(served)))
}

// === impl Action ===

impl Action {
    fn new(args: &Sidecar, exposition: &Arc<Mutex<Exposition>>) -> Result<Self, ConfigError> {
        let Some(file) = &args.http_file_path else {
            return Ok(Self::Signal(args.signals()));
        };
        let post = Post::from_file(file)?;
        let (queue, mut notices) = mpsc::channel(NOTICES);
        let counts = Arc::clone(exposition);
        let task = tokio::spawn(async move {
            while let Some(notice) = notices.recv().await {
                let accepted = post.send(&notice).await;
                counts.lock().count_notice(accepted);
            }
        });
        Ok(Self::Post { queue, task })
    }

    /// False where it failed.
    fn act(&self, crossed: &ProcessCrossing) -> bool {
        let level = crossed.crossing.level;
        let (pid, command) = (crossed.identity.pid, escape::terminal(&crossed.command));
        let usage = crossed.crossing.sample.ratio().unwrap_or_default() * 100.0;
        let forecast = crossed.crossing.forecast;
        let forecast_seconds = forecast.map(|left| left.as_secs_f64());
        match self {
            Self::Signal(signals) => {
                let signal = signals.at_level(level);
                let sent = signal.send(&crossed.process, &crossed.identity);
                let error = sent.as_ref().err();
                let error = error.map(|error| tracing::field::display(chain(error)));
                let again = crossed.crossing.again;
                let done = if sent.is_ok() { "sent" } else { "not sent" };
                tracing::warn!(pid, %command, usage, forecast_seconds, %signal, again, error, "{}: signal {done}", level.as_str());
                sent.is_ok()
            }
            Self::Post { queue, .. } => {
                let process = NoticeProcess {
                    pid,
                    cmdline: crossed.command.clone(),
                };
                let (scores, cgroup) = (crossed.scores, &crossed.identity.cgroup);
                let notice =
                    Notice::new(&crossed.crossing, scores, process, Timestamp::now(), cgroup);
                let queued = queue.try_send(notice).is_ok();
                tracing::warn!(pid, %command, usage, forecast_seconds, queued, "{}: notice", level.as_str());
                queued
            }
        }
    }

    async fn finish(self) {
        if let Self::Post { queue, task } = self {
            drop(queue);
            if timeout(GRACE, task).await.is_err() {
                tracing::warn!("notices in flight were given up");
            }
        }
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Signal(LevelSignals { warning, critical }) => {
                write!(f, "{warning} and {critical}")
            }
            Self::Post { .. } => f.write_str("HTTP"),
        }
    }
}
