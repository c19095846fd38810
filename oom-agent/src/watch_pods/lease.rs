//! Acquires, renews and releases the Lease, as [`Election`] decides.

use jiff::Timestamp;
use service::error_chain::chain;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::election::Election;
use super::health::CurrentFailure;
use crate::k8s::{ApiError, Cluster};

pub(super) struct LeaseHolder {
    cluster: Cluster,
    name: String,
    election: Election,
    failure: CurrentFailure,
    standing_by: bool,
}

// === impl LeaseHolder ===

impl LeaseHolder {
    pub(super) fn new(cluster: Cluster, name: String, me: String, failure: CurrentFailure) -> Self {
        Self {
            cluster,
            name,
            election: Election::new(me),
            failure,
            standing_by: false,
        }
    }

    /// Keeps `until` up to date with how long this candidate may act. Releases the lease on `end`.
    pub(super) async fn run(
        mut self,
        until: watch::Sender<Option<Instant>>,
        mut end: mpsc::Receiver<()>,
    ) {
        let hold = async {
            loop {
                self.renew().await;
                let leads = self.election.leads_until().map(Instant::from_std);
                until.send_replace(leads);
                let now = Instant::now().into_std();
                sleep(self.election.pause(now, fastrand::f64())).await;
            }
        };
        tokio::select! {
            () = hold => {}
            _ = end.recv() => {}
        }
        until.send_replace(None);
        self.release().await;
    }

    async fn renew(&mut self) {
        match self.try_renew().await {
            Ok(()) => self.failure.clear(),
            Err(error) => {
                self.election.record_failure();
                let attempt = format!("cannot read or write the lease {}", self.name);
                self.failure.record(&error, &attempt);
            }
        }
    }

    async fn try_renew(&mut self) -> Result<(), ApiError> {
        let namespace = self.cluster.namespace();
        let lease = self.cluster.read_lease(namespace, &self.name).await?;
        let now = std::time::Instant::now();
        let Some(next) = self
            .election
            .next_write(lease.as_ref(), now, Timestamp::now())
        else {
            if !self.standing_by {
                let holder = lease.map(|lease| lease.holder).unwrap_or_default();
                tracing::info!(holder = %service::escape::terminal(&holder), "standing by");
            }
            self.standing_by = true;
            return Ok(());
        };
        let written = self.cluster.write_lease(namespace, &self.name, &next);
        let stored = written.await?;
        self.election.record_write(stored, now);
        self.standing_by &= !stored;
        Ok(())
    }

    async fn release(&self) {
        let namespace = self.cluster.namespace();
        let released = async {
            let lease = self.cluster.read_lease(namespace, &self.name).await?;
            let next = lease.and_then(|lease| self.election.release(&lease, Timestamp::now()));
            if let Some(next) = next {
                self.cluster
                    .write_lease(namespace, &self.name, &next)
                    .await?;
            }
            Ok::<(), ApiError>(())
        };
        if let Err(error) = released.await {
            tracing::warn!(error = %chain(&error), "cannot release the lease: it expires by itself");
        }
    }
}
