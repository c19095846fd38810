//! A crossing with names is a warning, which goes to its destinations.

use std::sync::Arc;

use jiff::Timestamp;
use service::{clock, escape};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::containers::SharedContainers;
use crate::act::{Notice, Post, find_likeliest_victim};
use crate::enrich::Enricher;
use crate::host::Host;
use crate::metrics::WarningCounts;
use crate::report::Report;
use crate::sinks::Sinks;
use crate::warn::{ContainerCrossing, SignalOutcome, Warning};
use pressure::CgroupKey;

/// Delivers any number of warnings at once.
pub(super) struct Delivery {
    pub(super) host: Host,
    pub(super) enricher: Arc<Enricher>,
    pub(super) containers: SharedContainers,
    pub(super) sinks: Arc<Sinks>,
    pub(super) post: Option<Post>,
    pub(super) posts: Semaphore,
    pub(super) counts: WarningCounts,
}

// === impl Delivery ===

impl Delivery {
    pub(super) async fn deliver(
        self: Arc<Self>,
        crossing: ContainerCrossing,
        signal: Option<SignalOutcome>,
    ) {
        let ContainerCrossing {
            key,
            crossing,
            policy,
        } = crossing;
        let (container, pod) = self.enricher.find_owner(key.identity()).await;
        let at_ns = crossing.sample.at_ns;
        let threshold = policy.thresholds.threshold(crossing.level);
        let warning = Arc::new(Warning {
            // Of this sample of this cgroup; the id of a kill ends in a pid.
            id: format!("{}-{at_ns}-w{}", self.host.boot, key.inode()),
            time: clock::wall_time(at_ns, clock::monotonic_ns(), Timestamp::now()),
            node: self.host.node.clone(),
            cgroup: key.path().to_owned(),
            container,
            pod,
            crossing,
            threshold: threshold.map_or_else(String::new, ToString::to_string),
            percent: threshold.map_or(0.0, |threshold| threshold.measure(&crossing.sample)),
            signal,
        });
        tracing::debug!(
            warning = warning.id,
            "{}",
            escape::terminal(&warning.sentence())
        );
        self.sinks.offer(&Report::Warning(Arc::clone(&warning)));
        if let Some(post) = &self.post {
            self.post(post, &warning, key).await;
        }
    }

    async fn post(&self, post: &Post, warning: &Warning, key: CgroupKey) {
        let Ok(_permit) = self.posts.try_acquire() else {
            self.counts.unposted.inc();
            tracing::debug!(
                warning = warning.id,
                "too many POST requests wait for an answer"
            );
            return;
        };
        let containers = self.containers.clone();
        let find = move || find_likeliest_victim(&containers.processes, &containers.dir(&key));
        let (process, scores) = spawn_blocking(find)
            .await
            .ok()
            .flatten()
            .unwrap_or_default();
        let notice = Notice::new(&warning.crossing, scores, process, warning.time)
            .in_cgroup(&warning.cgroup)
            .with_owner(
                &warning.node,
                warning.container.clone(),
                warning.pod.clone(),
            );
        let counter = if post.send(&notice).await {
            &self.counts.posted
        } else {
            &self.counts.unposted
        };
        counter.inc();
    }
}
