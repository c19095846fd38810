//! A warning with names, and whoever is told of it.

use std::sync::Arc;

use jiff::Timestamp;
use service::error_chain::chain;
use service::{clock, escape};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::watcher::Cgroups;
use crate::act::{Notice, Post, likeliest};
use crate::host::Host;
use crate::metrics::WarningCounts;
use crate::pipeline::owner::find_owner;
use crate::pipeline::resolve::Resolver;
use crate::pressure::Key;
use crate::report::Report;
use crate::sinks::Sinks;
use crate::warn::{Crossed, Signal, Warning};

/// Tells one at a time, any number at once.
pub(super) struct Telling {
    pub(super) host: Host,
    pub(super) resolver: Arc<Resolver>,
    pub(super) cgroups: Cgroups,
    pub(super) sinks: Arc<Sinks>,
    pub(super) post: Option<Post>,
    pub(super) posts: Semaphore,
    pub(super) counts: WarningCounts,
}

// === impl Telling ===

impl Telling {
    pub(super) async fn tell(self: Arc<Self>, crossed: Crossed, signal: Option<Signal>) {
        let Crossed {
            key,
            crossing,
            marks,
        } = crossed;
        let (container, pod) = find_owner(&self.resolver, key.identity()).await;
        let at_ns = crossing.usage.at_ns;
        let mark = marks.settings.mark(crossing.level);
        let warning = Arc::new(Warning {
            // Of this look at this cgroup; a mark of the kernel's ends in a pid.
            id: format!("{}-{at_ns}-w{}", self.host.boot, key.inode()),
            time: clock::wall_time(at_ns, clock::monotonic_ns(), Timestamp::now()),
            node: self.host.node.clone(),
            cgroup: key.path().to_owned(),
            container,
            pod,
            crossing,
            mark: mark.map_or_else(String::new, ToString::to_string),
            percent: mark.map_or(0.0, |mark| mark.measured(&crossing.usage)),
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

    async fn post(&self, post: &Post, warning: &Warning, key: Key) {
        let Ok(_permit) = self.posts.try_acquire() else {
            self.counts.unposted.inc();
            tracing::debug!(
                warning = warning.id,
                "too many POST requests wait for an answer"
            );
            return;
        };
        let cgroups = self.cgroups.clone();
        let look = move || likeliest(&cgroups.processes, &cgroups.dir(&key));
        let (process, scores) = spawn_blocking(look)
            .await
            .ok()
            .flatten()
            .unwrap_or_default();
        let notice = Notice::new(&warning.crossing, scores, process, warning.time)
            .in_cgroup(&warning.cgroup)
            .of(
                &warning.node,
                warning.container.clone(),
                warning.pod.clone(),
            );
        match post.send(&notice).await {
            Ok(()) => self.counts.posted.inc(),
            Err(error) => {
                tracing::warn!(warning = warning.id, host = %escape::terminal(post.host()), error = %chain(&error), "a POST request was not taken");
                self.counts.unposted.inc()
            }
        };
    }
}
