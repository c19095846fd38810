//! A whole cluster's OOM kills by what its API server tells of pods: for nodes where no agent runs.
//!
//! Of several replicas one acts, by a Lease. It reads all pods, follows their changes, and tells each
//! container that was `OOMKilled` once: its Event's creation is the claim to tell it elsewhere, too.

mod counts;
mod dedup;
mod election;
mod follow;
mod health;
mod kills;
mod lease;
mod report;
mod reporter;
mod term;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tracing_appender::non_blocking::ErrorCounter;

use crate::admin::{self, ListenError};
use crate::args::WatchPods;
use crate::host::Host;
use crate::k8s::{self, Cluster, Credentials, CredentialsError};
use crate::metrics::Metrics;
use crate::receipts::Receipts;
use crate::signals::signals;
use crate::sinks::{Contradiction, Lines, Sinks, Style, start_bonker};
use health::Health;
use lease::LeaseHolder;
use reporter::Reporter;

/// Given to find credentials: an exec plugin or a file on a dead mount may hang.
const CREDENTIALS: Duration = Duration::from_secs(30);

/// Given to everything in flight when it is told to end.
const GRACE: Duration = Duration::from_secs(3);

/// Why `oom-agent watch-pods` ended by itself. `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// Nothing says who to ask.
    #[error(
        "no API server to ask: no service account, no $KUBECONFIG, no ~/.kube/config; --kubeconfig names another file"
    )]
    NoCredentials,
    /// They were found and cannot be used.
    #[error("no API server to ask")]
    Credentials(#[from] CredentialsError),
    /// They were not read in time.
    #[error("the credentials could not be read within {CREDENTIALS:?}")]
    Slow,
    /// The admin port cannot be had.
    #[error("cannot serve metrics and health")]
    Listen(#[from] ListenError),
    /// The flags for bonkers contradict each other.
    #[error(transparent)]
    Bonker(#[from] Contradiction),
    /// No thread to write lines.
    #[error("cannot start the thread that writes to standard output")]
    Lines(#[source] io::Error),
    /// Signals cannot be waited for.
    #[error("cannot listen for SIGTERM")]
    Signal(#[source] io::Error),
    /// The task that holds the lease has ended.
    #[error("nobody holds the lease any more: start it again")]
    Leaderless,
}

/// Runs until SIGTERM or SIGINT. `log` counts the lines that the log could not take.
pub async fn run(args: WatchPods, log: ErrorCounter) -> Result<(), WatchError> {
    let credentials = credentials(&args).await?;
    let listener = admin::listen(args.http_listen).await?;
    let mut end = signals().map_err(WatchError::Signal)?;
    let (server, source) = (credentials.server(), credentials.source.clone());
    let cluster = Cluster::new(credentials)?;
    // A host may run two of them; a restarted one is another.
    let me = format!("{}_{:016x}", Host::read(None).node, fastrand::u64(..));
    let metrics = Arc::new(Metrics::default());
    let health = Health {
        metrics: Arc::clone(&metrics),
        log,
        troubles: Default::default(),
    };
    let [no_lease, no_pods] = health.troubles.clone();
    let served = listener.map(|listener| tokio::spawn(health.serve(listener)));
    let unwritten = metrics.lines_unwritten.clone();
    let style = Style::kills_only(args.output, TimeZone::system());
    let lines = Lines::to_stdout(style, unwritten).map_err(WatchError::Lines)?;
    // Another replica may have told meanwhile: what is owed is not this one's to remember.
    let secrets = args.bonkers.secrets()?;
    let bonker = |url| start_bonker(url, secrets.clone(), false, &metrics, Receipts::default());
    let bonkers = args.bonkers.bonker.iter().map(bonker).collect();
    let sinks = Sinks::new(Arc::new(lines), bonkers);
    let grace = Duration::from_secs(args.grace.into());
    let mut reporter = Reporter::new(grace, cluster.clone(), me.clone(), sinks, metrics);
    tracing::info!(server, %source, identity = me, "Kubernetes API server");
    let mut lead = if args.no_lease {
        Leading::always()
    } else {
        Leading::by(LeaseHolder::new(
            cluster.clone(),
            args.lease.clone(),
            me,
            no_lease,
        ))
    };
    let lookback = SignedDuration::from_secs(args.lookback.into());
    let ended_by = loop {
        // Nobody sees pods who does not lead.
        no_pods.over();
        tokio::select! {
            begun = lead.begun() => if !begun {
                break Err(WatchError::Leaderless);
            },
            _ = end.recv() => break Ok(()),
        }
        let now = Timestamp::now();
        let since = now.checked_sub(lookback).unwrap_or(now);
        tracing::info!(%since, "leading: telling of pods");
        tokio::select! {
            () = lead.lost() => tracing::warn!("not leading any more"),
            () = term::run(&cluster, &mut reporter, since, &no_pods) => {}
            _ = end.recv() => break Ok(()),
        }
    };
    tracing::info!("ending");
    if let Some(served) = served {
        served.abort();
    }
    reporter.told().await;
    lead.end().await;
    reporter.finish().await;
    ended_by
}

async fn credentials(args: &WatchPods) -> Result<Credentials, WatchError> {
    let found = timeout(CREDENTIALS, k8s::find(args.kubeconfig.as_deref()));
    let found = found.await.map_err(|_| WatchError::Slow)??;
    found.ok_or(WatchError::NoCredentials)
}

/// Whether this one is to act.
struct Leading {
    until: watch::Receiver<Option<Instant>>,
    task: JoinHandle<()>,
    end: mpsc::Sender<()>,
}

// === impl Leading ===

impl Leading {
    fn by(lead: LeaseHolder) -> Self {
        let (sender, until) = watch::channel(None);
        let (end, ended) = mpsc::channel(1);
        let task = tokio::spawn(lead.run(sender, ended));
        Self { until, task, end }
    }

    /// As long as it runs.
    fn always() -> Self {
        let century = Duration::from_hours(24 * 365 * 100);
        let (sender, until) = watch::channel(Some(Instant::now() + century));
        let (end, mut ended) = mpsc::channel::<()>(1);
        let task = tokio::spawn(async move {
            let _told = ended.recv().await;
            drop(sender);
        });
        Self { until, task, end }
    }

    /// Waits until it is; false if it never will.
    async fn begun(&mut self) -> bool {
        loop {
            let until = *self.until.borrow_and_update();
            if until.is_some_and(|until| Instant::now() < until) {
                return true;
            }
            if self.until.changed().await.is_err() {
                return false;
            }
        }
    }

    /// Waits until it is no more.
    async fn lost(&mut self) {
        loop {
            let Some(until) = *self.until.borrow_and_update() else {
                return;
            };
            tokio::select! {
                changed = self.until.changed() => if changed.is_err() { return },
                () = sleep_until(until) => return,
            }
        }
    }

    /// Lets the next one begin.
    async fn end(mut self) {
        // It may have ended by itself.
        let _ended = self.end.send(()).await;
        if timeout(GRACE, &mut self.task).await.is_err() {
            self.task.abort();
            tracing::warn!("the lease could not be released: it expires by itself");
        }
    }
}
