//! All pods, then their changes, over every break: IO only.

use std::time::Duration;

use service::error_chain::chain;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::health::Trouble;
use crate::k8s::{ApiError, Change, Cluster, PodStatus};
use crate::sinks::Backoff;

/// What is seen of the pods.
#[derive(Debug)]
pub(super) enum Seen {
    /// All of them are about to come.
    Listing,
    /// All of them have come.
    Listed,
    /// A pod stands so.
    Pod(PodStatus),
    /// A pod stood so, and has gone.
    Gone(PodStatus),
}

/// Pods on a page of the list; fewer where these are too large.
const PAGE: u32 = 100;

/// A watch that the server ends at once is not begun again sooner.
const BREATH: Duration = Duration::from_secs(1);

/// Whoever listened has gone.
struct Unheard;

/// Until nobody listens. A slow listener makes the API server wait.
pub(super) async fn run(cluster: Cluster, seen: mpsc::Sender<Seen>, trouble: Trouble) {
    let follower = Follower {
        cluster,
        seen,
        backoff: Backoff::default(),
        trouble,
    };
    let _unheard = follower.run().await;
}

struct Follower {
    cluster: Cluster,
    seen: mpsc::Sender<Seen>,
    backoff: Backoff,
    trouble: Trouble,
}

// === impl Follower ===

impl Follower {
    async fn run(mut self) -> Result<(), Unheard> {
        loop {
            let Some(mut version) = self.list().await? else {
                self.wait().await;
                continue;
            };
            // From there on, as long as the server keeps what has changed since.
            while self.watch(&mut version).await? {}
        }
    }

    /// Gives where a watch goes on; `None` when the list broke.
    async fn list(&mut self) -> Result<Option<String>, Unheard> {
        self.say(Seen::Listing).await?;
        let (mut next, mut limit) = (None, PAGE);
        loop {
            match self.cluster.list_pods(next.as_deref(), limit).await {
                Ok(page) => {
                    self.well();
                    for pod in page.pods {
                        self.say(Seen::Pod(pod)).await?;
                    }
                    next = page.next;
                    if next.is_none() {
                        self.say(Seen::Listed).await?;
                        return Ok(Some(page.version));
                    }
                }
                Err(error) if error.is_too_long() && limit > 1 => limit = (limit / 10).max(1),
                Err(error) => {
                    self.tell(&error);
                    return Ok(None);
                }
            }
        }
    }

    /// One watch; false when everything must be listed again.
    async fn watch(&mut self, version: &mut String) -> Result<bool, Unheard> {
        let mut stream = match self.cluster.watch_pods(version).await {
            Ok(stream) => stream,
            Err(error) => return Ok(self.goes_on(&error).await),
        };
        let mut changes = 0_u64;
        loop {
            let change = match stream.next().await {
                Ok(Some(change)) => change,
                // Its time is over.
                Ok(None) => {
                    if changes == 0 {
                        sleep(BREATH).await;
                    }
                    return Ok(true);
                }
                Err(error) => return Ok(self.goes_on(&error).await),
            };
            self.well();
            changes += 1;
            match change {
                Change::Applied(pod) => self.say(Seen::Pod(pod)).await?,
                Change::Deleted(pod) => self.say(Seen::Gone(pod)).await?,
                Change::Passed => {}
            }
            // Not before it is taken: what is lost on the way here comes again.
            version.clone_from(&stream.version);
        }
    }

    async fn goes_on(&mut self, error: &ApiError) -> bool {
        if error.is_expired() {
            tracing::info!(
                "pods are listed again: the API server does not keep what changed since"
            );
            return false;
        }
        self.tell(error);
        self.wait().await;
        // The same change would come again.
        !error.is_unreadable()
    }

    async fn say(&self, seen: Seen) -> Result<(), Unheard> {
        self.seen.send(seen).await.map_err(|_| Unheard)
    }

    fn well(&mut self) {
        self.backoff.reset();
        self.trouble.over();
    }

    fn tell(&mut self, error: &ApiError) {
        let trouble = chain(error).to_string();
        if self.trouble.is(&trouble) {
            tracing::warn!(error = trouble, "pods are not seen; trying on");
        } else {
            tracing::debug!(error = trouble, "pods are still not seen");
        }
    }

    async fn wait(&mut self) {
        sleep(self.backoff.next_wait(fastrand::f64())).await;
    }
}
