//! `oom-agent sidecar`: watches the containers of its own pod by its shared PID namespace, or one
//! cgroup, without BPF and without Kubernetes.

mod exposition;
mod files;
mod listing;
mod look;
mod pod;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use service::{clock, escape};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::act::{ConfigError, Notice, Noticed, Post, Sig};
use crate::admin::{self, Answer, Endpoint};
use crate::args::Sidecar;
use crate::chain;
use crate::signals::signals;
use exposition::Exposition;
use files::FilesError;
use look::{Beside, Told};
use pressure::Level;

/// Notices that wait for the other side; more are dropped and counted.
const NOTICES: usize = 64;

/// Given to those in flight when it is told to end.
const GRACE: Duration = Duration::from_secs(3);

/// A process that could not be signalled or told of is tried again so soon, as with `OOMHero`.
const AGAIN: Duration = Duration::from_secs(1);

/// Why `oom-agent sidecar` could not start. `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SidecarError {
    /// The file of `--http-file-path` is of no use.
    #[error("cannot send notices by HTTP")]
    Post(#[from] ConfigError),
    /// There is no such cgroup.
    #[error("cannot watch the cgroup of --cgroup")]
    Cgroup(#[from] FilesError),
    /// All processes of the host would be signalled.
    #[error(
        "this is the host's PID namespace, and none of its processes is to be signalled: run in a pod with shareProcessNamespace, or name a --cgroup"
    )]
    Host,
    /// Signals cannot be waited for.
    #[error("cannot listen for SIGTERM")]
    Signal(#[source] std::io::Error),
}

/// What is done with whoever is near the limit.
enum Action {
    Signal {
        warning: Sig,
        critical: Sig,
    },
    Post {
        queue: mpsc::Sender<Notice>,
        task: JoinHandle<()>,
    },
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(args: Sidecar) -> Result<(), SidecarError> {
    if args.cgroup.is_none() && memcg::is_initial_pid_namespace() {
        return Err(SidecarError::Host);
    }
    if args.cgroup.is_none() && std::process::id() == 1 {
        tracing::warn!(
            "no process but this one is seen: the pod needs shareProcessNamespace: true"
        );
    }
    if args.settings().never_warns() {
        tracing::warn!("nothing is warned of: the warning's mark is not below the critical one's");
    }
    let mut terminated = signals().map_err(SidecarError::Signal)?;
    let exposition = Arc::new(Mutex::new(Exposition::default()));
    let action = Action::new(&args, &exposition)?;
    let settings = args.settings();
    let mut beside = Beside::new(settings, args.cgroup.as_deref(), AGAIN)?;
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
        let told = beside.look(clock::monotonic_ns());
        for told in told {
            let done = action.take(&told);
            lock(&exposition).count(told.crossing.level, done);
            if !done {
                beside.again(&told);
            }
        }
        if let Some(seen) = beside.seen() {
            lock(&exposition).seen(seen);
        }
    }
    tracing::info!("ending");
    if let Some(served) = served {
        served.abort();
    }
    action.finish().await;
    Ok(())
}

/// `OOMHero` goes on without its port, too.
async fn serve(args: &Sidecar, exposition: &Arc<Mutex<Exposition>>) -> Option<JoinHandle<()>> {
    let listener = match admin::listen(Some(args.http_listen)).await {
        Ok(listener) => listener?,
        Err(error) => {
            tracing::warn!(error = %chain(&error), "no metrics");
            return None;
        }
    };
    let shown = Arc::clone(exposition);
    let answer = move |asked| {
        let answer = match asked {
            Endpoint::Metrics => Answer::Metrics {
                content_type: exposition::CONTENT_TYPE,
                text: lock(&shown).to_string(),
            },
            Endpoint::Live | Endpoint::Ready => Answer::Yes,
        };
        std::future::ready(answer)
    };
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "serving metrics");
    }
    Some(tokio::spawn(admin::serve(listener, answer, || {})))
}

fn lock(exposition: &Mutex<Exposition>) -> std::sync::MutexGuard<'_, Exposition> {
    exposition.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Action ===

impl Action {
    fn new(args: &Sidecar, exposition: &Arc<Mutex<Exposition>>) -> Result<Self, ConfigError> {
        let Some(file) = &args.http_file_path else {
            return Ok(Self::Signal {
                warning: args.warning_signal,
                critical: args.critical_signal,
            });
        };
        let post = Post::from_file(file)?;
        let (queue, mut notices) = mpsc::channel(NOTICES);
        let counts = Arc::clone(exposition);
        let task = tokio::spawn(async move {
            while let Some(notice) = notices.recv().await {
                let sent = post.send(&notice).await;
                lock(&counts).posted(sent.is_ok());
                if let Err(error) = sent {
                    tracing::warn!(host = %escape::terminal(post.host()), error = %chain(&error), "a notice was not taken");
                }
            }
        });
        Ok(Self::Post { queue, task })
    }

    /// False where nothing came of it.
    fn take(&self, told: &Told) -> bool {
        let level = told.crossing.level;
        let (pid, command) = (told.identity.pid, escape::terminal(&told.command));
        let usage = told.crossing.sample.ratio().unwrap_or_default() * 100.0;
        let forecast = told.crossing.forecast;
        let forecast_seconds = forecast.map(|left| left.as_secs_f64());
        match self {
            Self::Signal { warning, critical } => {
                let signal = match level {
                    Level::Warning => warning,
                    Level::Critical => critical,
                };
                match signal.send(&told.held, &told.identity) {
                    Ok(()) => {
                        tracing::warn!(pid, %command, usage, forecast_seconds, %signal, again = told.crossing.again, "{}: signal sent", level.as_str());
                        true
                    }
                    Err(error) => {
                        tracing::warn!(pid, %command, usage, forecast_seconds, %signal, error = %chain(&error), "{}: signal not sent", level.as_str());
                        false
                    }
                }
            }
            Self::Post { queue, .. } => {
                let process = Noticed {
                    pid,
                    cmdline: told.command.clone(),
                };
                let notice = Notice::new(&told.crossing, told.scores, process, Timestamp::now())
                    .in_cgroup(&told.identity.cgroup);
                let taken = queue.try_send(notice).is_ok();
                tracing::warn!(pid, %command, usage, forecast_seconds, taken, "{}: notice", level.as_str());
                taken
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
            Self::Signal { warning, critical } => write!(f, "{warning} and {critical}"),
            Self::Post { .. } => f.write_str("HTTP"),
        }
    }
}
