//! What the admin port answers: the metrics with all that is read for them, liveness, readiness.

use std::fmt;
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

use super::resolve::Resolver;
use super::sampling::Watched;
use crate::admin::{self, Answer, Asked};
use crate::cri;
use crate::incident::Container;
use crate::metrics::{CONTENT_TYPE, Metrics, Readings, Who};
use crate::pressure::Usage;

/// A scrape or a probe waits this long for the container runtime at most.
const PATIENCE: Duration = Duration::from_millis(500);

/// A list of the containers is good for this long, however many peers ask.
const FRESH: Duration = Duration::from_secs(1);

/// What others count.
#[derive(Clone)]
pub(super) struct Meters {
    drops: DropCounters,
    log: ErrorCounter,
    /// The kernel's count when the programs had just been attached.
    kills_before: Option<u64>,
}

/// All that the answers are made of.
pub(super) struct Health {
    metrics: Arc<Metrics>,
    resolver: Arc<Resolver>,
    meters: Meters,
    liveness: Liveness,
    watched: Watched,
    /// When the containers were listed last; held while they are.
    listed: Mutex<Option<Instant>>,
}

/// One that has ended does not come back.
fn live(readers: &Liveness, sampler: &Liveness) -> Answer {
    let ended = match (readers.is_live(), sampler.is_live()) {
        (true, true) => return Answer::Yes,
        (false, _) => "a thread that reads the kernel's records",
        (true, false) => "the thread that samples the containers' memory",
    };
    Answer::No(format!("{ended} has ended"))
}

// === impl Meters ===

impl Meters {
    pub(super) fn new(drops: DropCounters, log: ErrorCounter, kills_before: Option<u64>) -> Self {
        Self {
            drops,
            log,
            kills_before,
        }
    }

    pub(super) fn read(&self) -> Readings {
        let lost = self.drops.read();
        Readings {
            ring_full: lost.ring_full,
            marks_full: lost.marks_full,
            malformed: lost.malformed,
            not_kept: lost.not_kept,
            rings_discarded: lost.discarded,
            log_lines_dropped: self.log.dropped_lines() as u64,
            kernel_kills: self.kernel_kills(),
        }
    }

    /// Records that were lost so far.
    pub(super) fn lost(&self) -> u64 {
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
    pub(super) fn new(
        metrics: Arc<Metrics>,
        resolver: Arc<Resolver>,
        meters: Meters,
        liveness: Liveness,
        watched: Watched,
    ) -> Arc<Self> {
        Arc::new(Self {
            metrics,
            resolver,
            meters,
            liveness,
            watched,
            listed: Mutex::default(),
        })
    }

    /// Until it is dropped.
    pub(super) async fn serve(self: Arc<Self>, listener: TcpListener) {
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, "metrics and health are served");
        }
        let evicted = self.metrics.connections_evicted.clone();
        let answer = move |asked| Arc::clone(&self).answer(asked);
        admin::serve(listener, answer, || {
            evicted.inc();
        })
        .await;
    }

    /// Asks the container runtime what runs, unless that was done just now.
    pub(super) async fn list(self: Arc<Self>) {
        let mut listed = self.listed.lock().await;
        if listed.is_some_and(|listed| listed.elapsed() < FRESH) {
            return;
        }
        match self.resolver.runtimes.find().await.running().await {
            Some(Ok(found)) => {
                let who = |found: &cri::Identity| Who::new(&found.container, found.pod.as_ref());
                let running = found.iter().map(who).collect();
                self.metrics.running(running, clock::monotonic_ns());
                for found in found {
                    self.resolver.names.learn(found);
                }
            }
            Some(Err(error)) => {
                tracing::debug!(error = %chain(&error), "what runs here could not be listed");
            }
            None => {}
        }
        *listed = Some(Instant::now());
    }

    async fn answer(self: Arc<Self>, asked: Asked) -> Answer {
        match asked {
            Asked::Live => live(&self.liveness, &self.watched.sampler),
            Asked::Ready => self.ready().await,
            Asked::Metrics => self.encode().await,
        }
    }

    async fn encode(self: Arc<Self>) -> Answer {
        Arc::clone(&self).list_in_time().await;
        self.metrics.read(self.meters.read());
        self.metrics.usages(self.usages());
        self.metrics
            .forecasts(self.forecasts(), self.watched.recorder.refused());
        match self.metrics.encode(clock::monotonic_ns()) {
            Ok(text) => Answer::Metrics {
                content_type: CONTENT_TYPE,
                text,
            },
            Err(fmt::Error) => Answer::No("the metrics could not be written".to_owned()),
        }
    }

    /// The last look at each container; one that the runtime does not know goes by its id.
    fn usages(&self) -> Vec<(Who, Usage)> {
        let all = self.watched.latest.get().into_iter();
        let all = all.map(|(key, usage)| (key.identity(), usage));
        // A pod that has a limit and no container with one is none.
        self.named(all.filter(|(identity, _)| identity.container_id.is_some()))
    }

    /// Those that grow, and how long they may do so.
    fn forecasts(&self) -> Vec<(Who, Duration)> {
        let all = self
            .watched
            .recorder
            .forecasts(clock::monotonic_ns())
            .into_iter();
        let all = all.map(|it| (cgroup::parse_path(&it.cgroup), it.to_limit));
        self.named(all.filter(|(identity, _)| identity.container_id.is_some()))
    }

    fn named<T>(&self, all: impl Iterator<Item = (PathIdentity, T)>) -> Vec<(Who, T)> {
        let named = all.map(|(identity, value)| {
            let id = identity.container_id.unwrap_or_default();
            let found = self.resolver.names.get(&id);
            let found = found.unwrap_or_else(|| cri::Identity {
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

    /// Attached it is, or nobody would answer. A runtime that did not answer last is asked again.
    async fn ready(self: Arc<Self>) -> Answer {
        if self.runtime_silent().is_none() {
            return Answer::Yes;
        }
        Arc::clone(&self).list_in_time().await;
        match self.runtime_silent() {
            None => Answer::Yes,
            Some(socket) => Answer::No(format!(
                "the container runtime on {socket} does not answer: containers go unnamed"
            )),
        }
    }

    /// The socket of a runtime that was named or found and has not answered last.
    fn runtime_silent(&self) -> Option<String> {
        let known = self.resolver.runtimes.known().0;
        let silent = known.iter().find(|cri| cri.answered() != Some(true))?;
        Some(silent.socket().to_string())
    }

    /// Goes on by itself when nobody waits any more: what it finds is of use to the next.
    async fn list_in_time(self: Arc<Self>) {
        let listing = tokio::spawn(self.list());
        if timeout(PATIENCE, listing).await.is_err() {
            tracing::debug!("the container runtime is slow; a scrape did not wait for it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whichever_thread_has_ended_is_named() {
        let (readers, sampler) = (Liveness::default(), Liveness::default());
        let check = |expect: &str| {
            let no = Answer::No(format!("{expect} has ended"));
            assert_eq!(live(&readers, &sampler), no);
        };
        assert_eq!(live(&readers, &sampler), Answer::Yes);
        drop(sampler.guard_thread());
        check("the thread that samples the containers' memory");
        drop(readers.guard_thread());
        check("a thread that reads the kernel's records");
    }
}
