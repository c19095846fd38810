//! Reports OOMs without a victim, once for each episode of a cgroup.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use oom_agent_ebpf as kernel;
use service::{clock, escape};
use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::enrich::Enricher;
use crate::host::Host;
use crate::incident::sentence;
use crate::metrics::Labelled;
use crate::no_victim::{Cause, Episodes, NoVictim, Sighting};
use crate::report::Report;
use crate::sinks::Sinks;
use pressure::Sweep;

/// The queue of sightings. One that finds no room will repeat.
const QUEUE: usize = 64;

/// Where sightings are offered. Never waits.
#[derive(Clone)]
pub(super) struct Sightings {
    queue: Sender<Sighting>,
    page_size: u64,
}

/// The queue's receiver.
pub(super) struct SightingReceiver(Receiver<Sighting>);

/// Turns sightings into reports.
pub(super) struct NoVictimReporter {
    pub(super) host: Host,
    pub(super) enricher: Arc<Enricher>,
    pub(super) sinks: Arc<Sinks>,
    pub(super) counts: Labelled<Cause>,
}

pub(super) fn channel(page_size: u64) -> (Sightings, SightingReceiver) {
    let (queue, receiver) = mpsc::channel(QUEUE);
    (Sightings { queue, page_size }, SightingReceiver(receiver))
}

// === impl Sightings ===

impl Sightings {
    fn offer(&self, sighting: Sighting) {
        let _again = self.queue.try_send(sighting);
    }

    pub(super) fn offer_record(&self, record: &kernel::NoVictim) {
        if let Some(sighting) = Sighting::from_record(record, self.page_size) {
            self.offer(sighting);
        }
    }

    pub(super) fn offer_sweep(&self, sweep: &Sweep<'_>) {
        for (at, cause) in sweep.stuck {
            let Some((key, usage)) = sweep.samples.get(*at) else {
                continue;
            };
            self.offer(Sighting {
                cause: *cause,
                cgroup: key.path().to_owned(),
                limit_bytes: usage.limit,
                trigger: None,
                stamp_ns: usage.at_ns,
            });
        }
    }
}

// === impl SightingReceiver ===

impl SightingReceiver {
    /// Reports until all [`Sightings`] are dropped.
    pub(super) fn start(mut self, reporter: NoVictimReporter) {
        tokio::spawn(async move {
            let mut episodes = Episodes::default();
            while let Some(mut sighting) = self.0.recv().await {
                let is_own = reporter
                    .enricher
                    .node
                    .path_on_node(&sighting.cgroup)
                    .is_some();
                if is_own && episodes.should_report(&mut sighting, Instant::now()) {
                    reporter.report(sighting).await;
                }
            }
        });
    }
}

// === impl NoVictimReporter ===

impl NoVictimReporter {
    async fn report(&self, sighting: Sighting) {
        let cause = sighting.cause;
        self.counts.add(cause, 1);
        let time = clock::wall_time(sighting.stamp_ns, clock::monotonic_ns(), Timestamp::now());
        let node = &self.enricher.node;
        let (container, pod) = self
            .enricher
            .find_owner(node.identify_path(&sighting.cgroup))
            .await;
        let no_victim = NoVictim {
            incident: sighting.into_incident(&self.host, node, time),
            container,
            pod,
        };
        let pod = no_victim.pod.as_ref().and_then(|pod| pod.name.as_deref());
        tracing::warn!(
            incident = no_victim.incident.id,
            cause = cause.as_str(),
            pod = %escape::terminal(pod.unwrap_or_default()),
            "{}",
            escape::terminal(&sentence(&no_victim.incident))
        );
        self.sinks.offer(&Report::NoVictim(Arc::new(no_victim)));
    }
}
