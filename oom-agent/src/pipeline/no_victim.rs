//! OOMs that kill nobody: told once for each episode of a cgroup.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use oom_agent_ebpf as kernel;
use service::{clock, escape};
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::owner::find_owner;
use super::resolve::Resolver;
use crate::host::Host;
use crate::incident::sentence;
use crate::metrics::NoVictimCounts;
use crate::no_victim::{Episodes, NoVictim, Sighting};
use crate::pressure::Pass;
use crate::report::Report;
use crate::sinks::Sinks;

/// Sightings on their way. What finds no room is seen again.
const QUEUE: usize = 64;

/// The near end. Never waits.
#[derive(Clone)]
pub(super) struct Sightings {
    queue: Sender<Sighting>,
    page_size: u64,
}

/// The far end, to be started.
pub(super) struct Told(Receiver<Sighting>);

/// Where they are told.
pub(super) struct Ends {
    pub(super) host: Host,
    pub(super) resolver: Arc<Resolver>,
    pub(super) sinks: Arc<Sinks>,
    pub(super) counts: NoVictimCounts,
}

pub(super) fn channel(page_size: u64) -> (Sightings, Told) {
    let (queue, receiver) = mpsc::channel(QUEUE);
    (Sightings { queue, page_size }, Told(receiver))
}

// === impl Sightings ===

impl Sightings {
    fn offer(&self, sighting: Sighting) {
        let _again = self.queue.try_send(sighting);
    }

    /// The kernel's record.
    pub(super) fn of_record(&self, record: &kernel::NoVictim) {
        if let Some(sighting) = Sighting::of_record(record, self.page_size) {
            self.offer(sighting);
        }
    }

    /// Those of a pass.
    pub(super) fn of_pass(&self, pass: &Pass<'_>) {
        for (at, cause) in pass.stuck {
            let Some((key, usage)) = pass.usages.get(*at) else {
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

// === impl Told ===

impl Told {
    /// Until all near ends are dropped.
    pub(super) fn start(mut self, ends: Ends) {
        tokio::spawn(async move {
            let mut episodes = Episodes::default();
            while let Some(mut sighting) = self.0.recv().await {
                let is_own = ends.resolver.node.path_on_node(&sighting.cgroup).is_some();
                if is_own && episodes.begins(&mut sighting, Instant::now()) {
                    ends.tell(sighting).await;
                }
            }
        });
    }
}

// === impl Ends ===

impl Ends {
    async fn tell(&self, sighting: Sighting) {
        let cause = sighting.cause;
        self.counts.add(cause);
        let time = clock::wall_time(sighting.stamp_ns, clock::monotonic_ns(), Timestamp::now());
        let node = &self.resolver.node;
        let (container, pod) =
            find_owner(&self.resolver, node.identify_path(&sighting.cgroup)).await;
        let told = NoVictim {
            incident: sighting.incident(&self.host, node, time),
            container,
            pod,
        };
        let pod = told.pod.as_ref().and_then(|pod| pod.name.as_deref());
        tracing::warn!(
            incident = told.incident.id,
            cause = cause.as_str(),
            pod = %escape::terminal(pod.unwrap_or_default()),
            "{}",
            escape::terminal(&sentence(&told.incident))
        );
        self.sinks.offer(&Report::NoVictim(Arc::new(told)));
    }
}
