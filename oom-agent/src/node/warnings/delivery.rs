//! A crossing with names is a warning, which goes to its destinations.

use std::sync::Arc;

use jiff::Timestamp;
use service::{clock, escape};
use tokio::task::spawn_blocking;

use super::Warner;
use crate::act::{Notice, Post, find_likeliest_victim};
use crate::report::Report;
use crate::warn::{ContainerCrossing, SignalOutcome, Warning};
use pressure::CgroupKey;

// === impl Warner ===

impl Warner {
    /// Delivers any number of warnings at once.
    pub(super) async fn deliver(
        self: Arc<Self>,
        crossing: ContainerCrossing,
        signal: Option<SignalOutcome>,
    ) {
        let host = &self.node.host;
        let ContainerCrossing {
            key,
            crossing,
            policy,
        } = crossing;
        let (container, pod) = self.node.enricher.find_owner(key.identity()).await;
        let at_ns = crossing.sample.at_ns;
        let threshold = policy.thresholds.threshold(crossing.level);
        let warning = Arc::new(Warning {
            // Of this sample of this cgroup; the id of a kill ends in a pid.
            id: format!("{}-{at_ns}-w{}", host.boot, key.inode()),
            time: clock::wall_time(at_ns, clock::monotonic_ns(), Timestamp::now()),
            node: host.node.clone(),
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
        self.node
            .sinks
            .offer(&Report::Warning(Arc::clone(&warning)));
        if let Some(post) = &self.post {
            self.post(post, &warning, key).await;
        }
    }

    async fn post(self: &Arc<Self>, post: &Post, warning: &Warning, key: CgroupKey) {
        let counts = &self.node.metrics.warnings;
        let Ok(_permit) = self.posts.try_acquire() else {
            counts.unposted.inc();
            tracing::debug!(
                warning = warning.id,
                "too many POST requests wait for an answer"
            );
            return;
        };
        let warner = Arc::clone(self);
        let find = move || find_likeliest_victim(&warner.processes, &warner.dir(&key));
        let (process, scores) = spawn_blocking(find)
            .await
            .ok()
            .flatten()
            .unwrap_or_default();
        let (time, cgroup) = (warning.time, &warning.cgroup);
        let mut notice = Notice::new(&warning.crossing, scores, process, time, cgroup);
        notice.node = Some(warning.node.clone());
        notice.container.clone_from(&warning.container);
        notice.pod.clone_from(&warning.pod);
        let counter = if post.send(&notice).await {
            &counts.posted
        } else {
            &counts.unposted
        };
        counter.inc();
    }
}
