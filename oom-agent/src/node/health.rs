//! The admin port's answers: metrics, liveness, readiness.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use memcg::cgroup::{self, PathIdentity};
use memcg::vmstat;
use oom_capture::probe::DropCounters;
use service::clock;
use service::error_chain::chain;
use service::liveness::Liveness;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tracing_appender::non_blocking::ErrorCounter;

use super::Node;
use crate::admin::{self, Answer, Endpoint};
use crate::cri;
use crate::incident::Container;
use crate::metrics::{Readings, Who};
use pressure::Sample;

/// The longest a scrape or a probe waits for the container runtime.
const PATIENCE: Duration = Duration::from_millis(500);

/// A list of the containers is reused for this long, however many requests come.
const FRESH: Duration = Duration::from_secs(1);

/// Counters of the capture and the log.
pub(super) struct Meters {
    pub(super) drops: DropCounters,
    pub(super) log: ErrorCounter,
    /// The kernel's count of kills when the programs were attached.
    pub(super) kills_before: Option<u64>,
}

/// Answers the requests.
pub(super) struct Health {
    node: Arc<Node>,
    liveness: Liveness,
    /// When the containers were listed last; locked meanwhile.
    listed: Mutex<Option<Instant>>,
}

/// A thread that has ended does not come back.
fn check_live(readers: &Liveness, sampler: &Liveness) -> Answer {
    let ended = match (readers.is_live(), sampler.is_live()) {
        (true, true) => return Answer::Yes,
        (false, _) => "a thread that reads the kernel's records",
        (true, false) => "the thread that samples the containers' memory",
    };
    Answer::No(format!("{ended} has ended"))
}

// === impl Meters ===

impl Meters {
    pub(super) fn read(&self) -> Readings {
        Readings {
            drops: self.drops.read(),
            log_lines_dropped: self.log.dropped_lines() as u64,
            kernel_kills: self.kernel_kills(),
        }
    }

    pub(super) fn lost_records(&self) -> u64 {
        let lost = self.drops.read();
        lost.ring_full + lost.marks_full + lost.malformed
    }

    /// Since the programs were attached.
    pub(super) fn kernel_kills(&self) -> Option<u64> {
        let (now, before) = (kernel_kills()?, self.kills_before?);
        Some(now.saturating_sub(before))
    }
}

/// Since the host's boot.
pub(super) fn kernel_kills() -> Option<u64> {
    vmstat::read_oom_kills(Path::new("/proc"))
        .inspect_err(|error| tracing::warn!(%error, "cannot read oom_kill of /proc/vmstat"))
        .ok()
}

// === impl Health ===

impl Health {
    /// `liveness` is that of the ring's readers.
    pub(super) fn new(node: &Arc<Node>, liveness: Liveness) -> Arc<Self> {
        Arc::new(Self {
            node: Arc::clone(node),
            liveness,
            listed: Mutex::default(),
        })
    }

    pub(super) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let evicted = self.node.metrics.connections_evicted.clone();
        let answer = move |request| Arc::clone(&self).answer(request);
        admin::serve(listener, answer, evicted).await;
    }

    /// Lists the running containers, unless that was done just now.
    pub(super) async fn list_running(self: Arc<Self>) {
        let mut listed = self.listed.lock().await;
        if listed.is_some_and(|listed| listed.elapsed() < FRESH) {
            return;
        }
        let runtimes = self.node.enricher.runtimes.find().await;
        match runtimes.list_running().await {
            Some(Ok(found)) => {
                let who =
                    |found: &cri::ContainerInfo| Who::new(&found.container, found.pod.as_ref());
                let running = found.iter().map(who).collect();
                let kills = &self.node.metrics.kills;
                kills.set_running(running, clock::monotonic_ns());
                for found in found {
                    self.node.enricher.names.insert(found);
                }
            }
            Some(Err(error)) => {
                tracing::debug!(error = %chain(&error), "cannot list the running containers");
            }
            None => {}
        }
        *listed = Some(Instant::now());
    }

    async fn answer(self: Arc<Self>, request: Endpoint) -> Answer {
        match request {
            Endpoint::Live => check_live(&self.liveness, &self.node.watched.sampler),
            Endpoint::Ready => self.check_ready().await,
            Endpoint::Metrics => self.encode_metrics().await,
        }
    }

    async fn encode_metrics(self: Arc<Self>) -> Answer {
        Arc::clone(&self).list_in_time().await;
        let (metrics, watched) = (&self.node.metrics, &self.node.watched);
        metrics.external.update(|| self.node.meters.read());
        metrics.watched.set_usages(self.latest_usages());
        metrics
            .watched
            .set_forecasts(self.forecasts(), watched.recorder.refused());
        metrics.encode(clock::monotonic_ns()).into()
    }

    /// The last sample of each container; one that the runtime does not know has its id only.
    fn latest_usages(&self) -> Vec<(Who, Sample)> {
        let all = self.node.watched.latest.get().into_iter();
        let all = all.map(|(key, usage)| (key.identity(), usage));
        // A pod's own cgroup may be sampled, too.
        self.add_names(all.filter(|(identity, _)| identity.container_id.is_some()))
    }

    /// The growing containers, and how long until they reach their limits.
    fn forecasts(&self) -> Vec<(Who, Duration)> {
        let recorder = &self.node.watched.recorder;
        let all = recorder.forecasts(clock::monotonic_ns()).into_iter();
        let all = all.map(|it| (cgroup::parse_path(&it.cgroup), it.to_limit));
        self.add_names(all.filter(|(identity, _)| identity.container_id.is_some()))
    }

    fn add_names<T>(&self, all: impl Iterator<Item = (PathIdentity, T)>) -> Vec<(Who, T)> {
        let named = all.map(|(identity, value)| {
            let id = identity.container_id.unwrap_or_default();
            let found = self.node.enricher.names.get(&id);
            let found = found.unwrap_or_else(|| cri::ContainerInfo {
                container: Container {
                    id,
                    ..Container::default()
                },
                pod: None,
            });
            (Who::new(&found.container, found.pod.as_ref()), value)
        });
        named.collect()
    }

    /// The programs are attached before the port answers. A runtime that did not answer last is queried again.
    async fn check_ready(self: Arc<Self>) -> Answer {
        if self.silent_runtime().is_none() {
            return Answer::Yes;
        }
        Arc::clone(&self).list_in_time().await;
        match self.silent_runtime() {
            None => Answer::Yes,
            Some(socket) => Answer::No(format!(
                "the container runtime on {socket} does not answer: containers go unnamed"
            )),
        }
    }

    /// The socket of a known runtime that did not answer last.
    fn silent_runtime(&self) -> Option<String> {
        let known = self.node.enricher.runtimes.known().0;
        let silent = known.iter().find(|cri| cri.answered() != Some(true))?;
        Some(silent.socket().to_string())
    }

    /// After the patience the listing goes on in the background, for the next request.
    async fn list_in_time(self: Arc<Self>) {
        let listing = tokio::spawn(self.list_running());
        if timeout(PATIENCE, listing).await.is_err() {
            tracing::debug!("the container runtime is slow; a scrape did not wait for it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_thread_is_named() {
        let (readers, sampler) = (Liveness::default(), Liveness::default());
        let check = |expect: &str| {
            let no = Answer::No(format!("{expect} has ended"));
            assert_eq!(check_live(&readers, &sampler), no);
        };
        assert_eq!(check_live(&readers, &sampler), Answer::Yes);
        drop(sampler.guard_thread());
        check("the thread that samples the containers' memory");
        drop(readers.guard_thread());
        check("a thread that reads the kernel's records");
    }
}
