use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// What the sampler of the containers' usage does. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct SamplerCounts {
    /// Passes over all containers.
    pub passes: Counter,
    /// Looks at one container between passes.
    pub between: Counter,
    /// Such looks that had to wait for the pass, as too many were due.
    pub postponed: Counter,
    /// Looks that failed though the container is there.
    pub failed: Counter,
    /// Times that all cgroups were walked again, as too much happened at once.
    pub rescans: Counter,
    /// 1 while its thread runs.
    pub running: Gauge,
    /// Containers that are watched.
    pub watched: Gauge,
    /// Containers with a limit that are not, for want of room.
    pub no_room: Gauge,
    /// Directories of cgroups that are not watched for containers.
    pub unwatched: Gauge,
    /// What all of that took, in s.
    pub seconds: Counter<f64, AtomicU64>,
}

// === impl SamplerCounts ===

impl SamplerCounts {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let counts = Self::default();
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(name, help, counter.clone());
        };
        counter(
            "sampler_passes",
            "Passes over the memory of all watched containers",
            &counts.passes,
        );
        counter(
            "sampler_looks_between",
            "Looks at one container between passes",
            &counts.between,
        );
        counter(
            "sampler_looks_postponed",
            "Looks between passes that were left to the pass",
            &counts.postponed,
        );
        counter(
            "sampler_looks_failed",
            "Looks at a container that is there and could not be read",
            &counts.failed,
        );
        counter(
            "sampler_rescans",
            "Times that all cgroups were walked again",
            &counts.rescans,
        );
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| {
            registry.register(name, help, gauge.clone());
        };
        gauge(
            "sampler_running",
            "Whether the thread runs that samples containers' memory",
            &counts.running,
        );
        gauge(
            "watched_containers",
            "Containers with a memory limit whose usage is sampled",
            &counts.watched,
        );
        gauge(
            "unwatched_containers",
            "Containers with a memory limit for which there is no room",
            &counts.no_room,
        );
        gauge(
            "unwatched_cgroups",
            "Directories of cgroups that are not watched for containers",
            &counts.unwatched,
        );
        registry.register_with_unit(
            "sampler",
            "Time spent in passes and looks between them, with what is made of each",
            Unit::Seconds,
            counts.seconds.clone(),
        );
        counts
    }

    /// A pass over all containers, or looks between passes, took that long, with what was made of them.
    pub fn spent(&self, took: Duration) {
        self.seconds.inc_by(took.as_secs_f64());
    }
}
