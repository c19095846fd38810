//! Lists all pods, then watches their changes, and starts again after every failure. IO only.

use std::time::Duration;

use service::error_chain::chain;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::health::CurrentFailure;
use crate::k8s::{ApiError, Change, Cluster, PodStatus};
use service::backoff::Backoff;

/// A step of the list or the watch.
#[derive(Debug)]
pub(super) enum PodEvent {
    /// A list of all pods follows.
    ListStarted,
    ListFinished,
    Updated(PodStatus),
    /// With the pod's last status.
    Deleted(PodStatus),
}

/// Pods on a page of the list; fewer where these are too large.
const PAGE_SIZE: u32 = 100;

/// A watch that the server ends at once is not started again sooner.
const EMPTY_WATCH_PAUSE: Duration = Duration::from_secs(1);

struct ReceiverClosed;

/// Runs until the receiver is closed. A slow receiver makes the API server wait.
pub(super) async fn run(cluster: Cluster, events: mpsc::Sender<PodEvent>, failure: CurrentFailure) {
    let follower = Follower {
        cluster,
        events,
        backoff: Backoff::default(),
        failure,
    };
    let _closed = follower.run().await;
}

struct Follower {
    cluster: Cluster,
    events: mpsc::Sender<PodEvent>,
    backoff: Backoff,
    failure: CurrentFailure,
}

// === impl Follower ===

impl Follower {
    async fn run(mut self) -> Result<(), ReceiverClosed> {
        loop {
            let Some(mut version) = self.list().await? else {
                self.wait().await;
                continue;
            };
            // For as long as the server keeps the changes since that version.
            while self.watch(&mut version).await? {}
        }
    }

    /// Gives the version from which to watch; `None` when the list failed.
    async fn list(&mut self) -> Result<Option<String>, ReceiverClosed> {
        self.send(PodEvent::ListStarted).await?;
        let (mut next, mut limit) = (None, PAGE_SIZE);
        loop {
            match self.cluster.list_pods(next.as_deref(), limit).await {
                Ok(page) => {
                    self.record_success();
                    for pod in page.pods {
                        self.send(PodEvent::Updated(pod)).await?;
                    }
                    next = page.next;
                    if next.is_none() {
                        self.send(PodEvent::ListFinished).await?;
                        return Ok(Some(page.version));
                    }
                }
                Err(error) if error.is_too_long() && limit > 1 => limit = (limit / 10).max(1),
                Err(error) => {
                    self.record_failure(&error);
                    return Ok(None);
                }
            }
        }
    }

    /// Runs one watch; false when all pods must be listed again.
    async fn watch(&mut self, version: &mut String) -> Result<bool, ReceiverClosed> {
        let mut stream = match self.cluster.watch_pods(version).await {
            Ok(stream) => stream,
            Err(error) => return Ok(self.can_resume(&error).await),
        };
        let mut changes = 0_u64;
        loop {
            let change = match stream.next().await {
                Ok(Some(change)) => change,
                // The server ended it on time.
                Ok(None) => {
                    if changes == 0 {
                        sleep(EMPTY_WATCH_PAUSE).await;
                    }
                    return Ok(true);
                }
                Err(error) => return Ok(self.can_resume(&error).await),
            };
            self.record_success();
            changes += 1;
            match change {
                Change::Applied(pod) => self.send(PodEvent::Updated(pod)).await?,
                Change::Deleted(pod) => self.send(PodEvent::Deleted(pod)).await?,
                Change::Bookmark => {}
            }
            // Only once the change was received: what is lost before comes again.
            version.clone_from(&stream.version);
        }
    }

    async fn can_resume(&mut self, error: &ApiError) -> bool {
        if error.is_expired() {
            tracing::info!(
                "pods are listed again: the API server does not keep what changed since"
            );
            return false;
        }
        self.record_failure(error);
        self.wait().await;
        // The same change would come again.
        !error.is_unreadable()
    }

    async fn send(&self, event: PodEvent) -> Result<(), ReceiverClosed> {
        self.events.send(event).await.map_err(|_| ReceiverClosed)
    }

    fn record_success(&mut self) {
        self.backoff.reset();
        self.failure.clear();
    }

    fn record_failure(&mut self, error: &ApiError) {
        let error = chain(error).to_string();
        if self.failure.set(&error) {
            tracing::warn!(error, "cannot read pods; retrying");
        } else {
            tracing::debug!(error, "still cannot read pods");
        }
    }

    async fn wait(&mut self) {
        sleep(self.backoff.next_wait(fastrand::f64())).await;
    }
}
