//! Holds the Lease, as [`Election`] says.

use jiff::Timestamp;
use service::error_chain::chain;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::election::Election;
use super::health::Trouble;
use crate::k8s::{ApiError, Cluster};

/// A candidate.
pub(super) struct LeaseHolder {
    cluster: Cluster,
    name: String,
    election: Election,
    trouble: Trouble,
    standing_by: bool,
}

// === impl LeaseHolder ===

impl LeaseHolder {
    pub(super) fn new(cluster: Cluster, name: String, me: String, trouble: Trouble) -> Self {
        Self {
            cluster,
            name,
            election: Election::new(me),
            trouble,
            standing_by: false,
        }
    }

    /// Tells `until` when this one may act, until it is told to `end`; then it releases the lease.
    pub(super) async fn run(
        mut self,
        until: watch::Sender<Option<Instant>>,
        mut end: mpsc::Receiver<()>,
    ) {
        loop {
            tokio::select! {
                () = self.turn() => {}
                _ = end.recv() => break,
            }
            let leads = self.election.leads_until().map(Instant::from_std);
            until.send_replace(leads);
            let pause = self
                .election
                .pause(std::time::Instant::now(), fastrand::f64());
            tokio::select! {
                () = sleep(pause) => {}
                _ = end.recv() => break,
            }
        }
        until.send_replace(None);
        self.release().await;
    }

    async fn turn(&mut self) {
        match self.attempt().await {
            Ok(()) => self.trouble.over(),
            Err(error) => {
                self.election.failed();
                let trouble = chain(&error).to_string();
                if self.trouble.is(&trouble) {
                    tracing::warn!(error = trouble, lease = self.name, "no lease; trying on");
                } else {
                    tracing::debug!(error = trouble, "still no lease");
                }
            }
        }
    }

    async fn attempt(&mut self) -> Result<(), ApiError> {
        let namespace = self.cluster.namespace();
        let lease = self.cluster.lease(namespace, &self.name).await?;
        let now = std::time::Instant::now();
        let Some(next) = self.election.look(lease.as_ref(), now, Timestamp::now()) else {
            if !self.standing_by {
                let holder = lease.map(|lease| lease.holder).unwrap_or_default();
                tracing::info!(holder = %service::escape::terminal(&holder), "standing by");
            }
            self.standing_by = true;
            return Ok(());
        };
        let written = self.cluster.write_lease(namespace, &self.name, &next);
        let stored = written.await?;
        self.election.wrote(stored, now);
        self.standing_by &= !stored;
        Ok(())
    }

    async fn release(&self) {
        let namespace = self.cluster.namespace();
        let released = async {
            let lease = self.cluster.lease(namespace, &self.name).await?;
            let next = lease.and_then(|lease| self.election.released(&lease, Timestamp::now()));
            if let Some(next) = next {
                self.cluster
                    .write_lease(namespace, &self.name, &next)
                    .await?;
            }
            Ok::<(), ApiError>(())
        };
        if let Err(error) = released.await {
            tracing::warn!(error = %chain(&error), "the lease could not be released: it expires by itself");
        }
    }
}
