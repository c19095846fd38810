//! Acquires, renews and releases the Lease, as [`Election`] decides.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use service::error_chain::chain;
use tokio::time::{sleep, timeout, timeout_at};

use super::GRACE;
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

    /// Returns once this candidate may act.
    pub(super) async fn acquire(&mut self) {
        loop {
            self.renew().await;
            if self.election.leads_until() > Some(Instant::now()) {
                return;
            }
            sleep(self.pause()).await;
        }
    }

    /// Renews the lease; returns once this candidate must not act.
    pub(super) async fn keep(&mut self) {
        while let Some(until) = self.election.leads_until() {
            let renewal = async {
                sleep(self.pause()).await;
                self.renew().await;
            };
            if timeout_at(until.into(), renewal).await.is_err() {
                return;
            }
        }
    }

    fn pause(&self) -> Duration {
        self.election.pause(Instant::now(), fastrand::f64())
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
        let lease = self.cluster.read_lease(&self.name).await?;
        let now = Instant::now();
        let next = self
            .election
            .next_write(lease.as_ref(), now, Timestamp::now());
        let Some(next) = next else {
            if !self.standing_by {
                let holder = lease.map(|lease| lease.holder).unwrap_or_default();
                tracing::info!(holder = %service::escape::terminal(&holder), "standing by");
            }
            self.standing_by = true;
            return Ok(());
        };
        let stored = self.cluster.write_lease(&self.name, &next).await?;
        self.election.record_write(stored, now);
        self.standing_by &= !stored;
        Ok(())
    }

    /// Lets the next replica start at once.
    pub(super) async fn release(&self) {
        let released = async {
            let lease = self.cluster.read_lease(&self.name).await?;
            let next = lease.and_then(|lease| self.election.release(&lease, Timestamp::now()));
            if let Some(next) = next {
                self.cluster.write_lease(&self.name, &next).await?;
            }
            Ok::<(), ApiError>(())
        };
        match timeout(GRACE, released).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = %chain(&error), "cannot release the lease: it expires by itself");
            }
            Err(_) => tracing::warn!("cannot release the lease: it expires by itself"),
        }
    }
}
