//! Reports a cluster's OOM kills from pods' statuses: for nodes where no agent runs.
//!
//! One of several replicas acts, by a Lease. It lists all pods, watches their changes, and reports each
//! container that was `OOMKilled` once: the replica that creates the Event also writes the line and bonks.

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

use futures::future::OptionFuture;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio_util::task::AbortOnDropHandle;
use tracing_appender::non_blocking::ErrorCounter;

use crate::admin::{self, ListenError};
use crate::args::WatchPods;
use crate::host::Host;
use crate::k8s::{self, Cluster, CredentialsError};
use crate::metrics::Metrics;
use crate::receipts::Receipts;
use crate::signals::signals;
use crate::sinks::{Contradiction, Lines, Sinks, Style, start_bonker};
use health::Health;
use lease::LeaseHolder;
use reporter::Reporter;

/// For everything in flight at shutdown.
const GRACE: Duration = Duration::from_secs(3);

/// `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WatchError {
    #[error(
        "no credentials for an API server: no service account, no $KUBECONFIG, no ~/.kube/config; name a file with --kubeconfig"
    )]
    NoCredentials,
    #[error("cannot use the credentials for the API server")]
    Credentials(#[from] CredentialsError),
    #[error("cannot serve metrics and health")]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Bonker(#[from] Contradiction),
    #[error("cannot start the thread that writes to standard output")]
    Lines(#[source] io::Error),
    #[error("cannot listen for SIGTERM")]
    Signal(#[source] io::Error),
}

/// Runs until SIGTERM or SIGINT. `log` counts the lines that the log could not take.
pub(crate) async fn run(args: WatchPods, log: ErrorCounter) -> Result<(), WatchError> {
    let credentials = k8s::find_credentials(args.reporter.kubeconfig.clone()).await?;
    let credentials = credentials.ok_or(WatchError::NoCredentials)?;
    let listener = admin::listen(args.reporter.http_listen).await?;
    let mut end = signals().map_err(WatchError::Signal)?;
    let (server, source) = (credentials.server(), credentials.source.clone());
    let cluster = Cluster::new(credentials)?;
    // One host may run two of them, and a restarted one is another candidate.
    let me = format!("{}_{:016x}", Host::read(None).node, fastrand::u64(..));
    let metrics = Arc::new(Metrics::default());
    let health = Health {
        metrics: Arc::clone(&metrics),
        log,
        failures: Default::default(),
    };
    let [lease_failure, pods_failure] = health.failures.clone();
    let served =
        listener.map(|listener| AbortOnDropHandle::new(tokio::spawn(health.serve(listener))));
    let unwritten = metrics.lines_unwritten.clone();
    let style = Style::kills_only(args.reporter.output, TimeZone::system());
    let lines = Lines::to_stdout(style, unwritten).map_err(WatchError::Lines)?;
    // No receipts: after a restart another replica may have reported the kill.
    let secrets = args.bonkers.secrets()?;
    let bonker = |url| start_bonker(url, secrets.clone(), false, &metrics, Receipts::default());
    let bonkers = args.bonkers.bonker.iter().map(bonker).collect();
    let sinks = Sinks::new(Arc::new(lines), bonkers);
    let grace = Duration::from_secs(args.grace.into());
    let mut reporter = Reporter::new(grace, cluster.clone(), me.clone(), sinks, metrics);
    tracing::info!(server, %source, identity = me, "Kubernetes API server");
    let mut lease = (!args.no_lease)
        .then(|| LeaseHolder::new(cluster.clone(), args.lease.clone(), me, lease_failure));
    let lookback = SignedDuration::from_secs(args.lookback.into());
    loop {
        // Only the leader reads pods; without a lease each replica leads.
        pods_failure.clear();
        tokio::select! {
            _led = OptionFuture::from(lease.as_mut().map(LeaseHolder::acquire)) => {}
            _ = end.recv() => break,
        }
        let now = Timestamp::now();
        let since = now.checked_sub(lookback).unwrap_or(now);
        tracing::info!(%since, "leading: reporting OOM kills of pods");
        tokio::select! {
            Some(()) = OptionFuture::from(lease.as_mut().map(LeaseHolder::keep)) => {
                tracing::warn!("no longer leading");
            }
            () = term::run(&cluster, &mut reporter, since, &pods_failure) => {}
            _ = end.recv() => break,
        }
    }
    tracing::info!("shutting down");
    drop(served);
    reporter.drain().await;
    if let Some(lease) = lease {
        lease.release().await;
    }
    reporter.finish().await;
    Ok(())
}
