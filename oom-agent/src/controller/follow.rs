//! Lists all pods, then watches their changes, and starts again after every failure. IO only.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::health::CurrentFailure;
use crate::k8s::{ApiError, Change, Cluster};
use service::backoff::Backoff;

/// A step of the list or the watch.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are changes")]
pub(super) enum PodEvent {
    /// A list of all pods follows.
    ListStarted,
    ListFinished,
    Changed(Change),
}

/// Pods on a page of the list; fewer where these are too large.
const PAGE_SIZE: u32 = 100;

const CANNOT_READ: &str = "cannot read pods";

/// A watch that the server ends at once is not started again sooner.
const EMPTY_WATCH_PAUSE: Duration = Duration::from_secs(1);

struct Follower<'a> {
    cluster: &'a Cluster,
    events: mpsc::Sender<PodEvent>,
    backoff: Backoff,
    failure: &'a CurrentFailure,
}

/// Runs until it is dropped, before the receiver of `events`. A slow receiver makes the API server wait.
pub(super) async fn run(
    cluster: &Cluster,
    events: mpsc::Sender<PodEvent>,
    failure: &CurrentFailure,
) {
    let mut follower = Follower {
        cluster,
        events,
        backoff: Backoff::default(),
        failure,
    };
    loop {
        if let Some(mut version) = follower.list().await {
            // For as long as the server keeps the changes since that version.
            while follower.watch(&mut version).await {}
        } else {
            follower.wait().await;
        }
    }
}

// === impl Follower ===

impl Follower<'_> {
    /// Gives the version from which to watch; `None` when the list failed.
    async fn list(&mut self) -> Option<String> {
        self.send(PodEvent::ListStarted).await;
        let (mut next, mut limit) = (String::new(), PAGE_SIZE);
        loop {
            match self.cluster.list_pods(&next, limit).await {
                Ok(page) => {
                    self.record_success();
                    for pod in page.items {
                        self.send(PodEvent::Changed(Change::Applied(pod))).await;
                    }
                    next = page.metadata.next;
                    if next.is_empty() {
                        self.send(PodEvent::ListFinished).await;
                        return Some(page.metadata.resource_version);
                    }
                }
                Err(error) if error.is_too_long() && limit > 1 => limit = (limit / 10).max(1),
                Err(error) => {
                    self.failure.record(&error, CANNOT_READ);
                    return None;
                }
            }
        }
    }

    /// Runs one watch; false when all pods must be listed again.
    async fn watch(&mut self, version: &mut String) -> bool {
        let mut stream = match self.cluster.watch_pods(version).await {
            Ok(stream) => stream,
            Err(error) => return self.can_resume(&error).await,
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
                    return true;
                }
                Err(error) => return self.can_resume(&error).await,
            };
            self.record_success();
            changes += 1;
            self.send(PodEvent::Changed(change)).await;
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
        self.failure.record(error, CANNOT_READ);
        self.wait().await;
        // The same change would come again.
        !error.is_unreadable()
    }

    async fn send(&self, event: PodEvent) {
        let _received = self.events.send(event).await;
    }

    fn record_success(&mut self) {
        self.backoff.reset();
        self.failure.clear();
    }

    async fn wait(&mut self) {
        sleep(self.backoff.next_wait(fastrand::f64())).await;
    }
}
