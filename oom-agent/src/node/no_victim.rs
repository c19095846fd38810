//! Reports OOMs without a victim, once for each episode of a cgroup.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use oom_agent_ebpf as kernel;
use service::{clock, escape};
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::Node;
use crate::incident::sentence;
use crate::no_victim::{Episodes, NoVictim, Sighting};
use crate::report::Report;
use pressure::Sweep;

/// The queue of sightings. One that finds no room will repeat.
const QUEUE: usize = 64;

/// Where sightings are offered. Never waits.
#[derive(Clone)]
pub(super) struct Sightings {
    queue: Sender<Sighting>,
    page_size: u64,
}

// === impl Sightings ===

impl Sightings {
    pub(super) fn channel(page_size: u64) -> (Self, Receiver<Sighting>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        (Self { queue, page_size }, receiver)
    }

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

/// Reports until all [`Sightings`] are dropped.
pub(super) async fn report_sightings(node: Arc<Node>, mut sightings: Receiver<Sighting>) {
    let mut episodes = Episodes::default();
    while let Some(mut sighting) = sightings.recv().await {
        let below = node.enricher.node.path_on_node(&sighting.cgroup);
        if below.is_some() && episodes.should_report(&mut sighting, Instant::now()) {
            report(&node, sighting).await;
        }
    }
}

async fn report(node: &Node, sighting: Sighting) {
    let cause = sighting.cause;
    node.metrics.no_victim.add(cause, 1);
    let time = clock::wall_time(sighting.stamp_ns, clock::monotonic_ns(), Timestamp::now());
    let root = &node.enricher.node;
    let identity = root.identify_path(&sighting.cgroup);
    let (container, pod) = node.enricher.find_owner(identity).await;
    let no_victim = NoVictim {
        incident: sighting.into_incident(&node.host, root, time),
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
    node.sinks.offer(&Report::NoVictim(Arc::new(no_victim)));
}
