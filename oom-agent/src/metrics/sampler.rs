use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::collector::encode_one;
use pressure::Counts;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

/// Name, help and value.
type Metric = (&'static str, &'static str, fn(&Counts) -> &AtomicU64);

const COUNTERS: [Metric; 5] = [
    (
        "sampler_passes",
        "Sweeps over the memory of all watched containers.",
        |counts| &counts.sweeps,
    ),
    (
        "sampler_looks_between",
        "Samples of one container between sweeps.",
        |counts| &counts.between,
    ),
    (
        "sampler_looks_postponed",
        "Samples between sweeps that were postponed.",
        |counts| &counts.postponed,
    ),
    (
        "sampler_looks_failed",
        "Samples of a container that is there and could not be read.",
        |counts| &counts.failed,
    ),
    (
        "sampler_rescans",
        "Times that all cgroups were walked again.",
        |counts| &counts.rescans,
    ),
];

const GAUGES: [Metric; 4] = [
    (
        "sampler_running",
        "Whether the thread runs that samples containers' memory.",
        |counts| &counts.running,
    ),
    (
        "watched_containers",
        "Containers with a memory limit whose usage is sampled.",
        |counts| &counts.watched,
    ),
    (
        "unwatched_containers",
        "Containers with a memory limit for which there is no room.",
        |counts| &counts.no_room,
    ),
    (
        "unwatched_cgroups",
        "Directories of cgroups that are not watched for containers.",
        |counts| &counts.unwatched,
    ),
];

#[derive(Debug)]
struct Metrics(Arc<Counts>);

/// The sampler keeps the counts.
pub(super) fn register(registry: &mut Registry) -> Arc<Counts> {
    let counts = Arc::<Counts>::default();
    registry.register_collector(Box::new(Metrics(Arc::clone(&counts))));
    counts
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        for (name, help, count) in COUNTERS {
            let value = ConstCounter::new(read(count(&self.0)));
            encode_one(&mut encoder, name, help, &value)?;
        }
        for (name, help, count) in GAUGES {
            let value = ConstGauge::new(read(count(&self.0)));
            encode_one(&mut encoder, name, help, &value)?;
        }
        let encoder = encoder.encode_descriptor(
            "sampler",
            "Time spent in sweeps and samples between them, with what is made of each.",
            Some(&Unit::Seconds),
            MetricType::Counter,
        )?;
        let busy = Duration::from_nanos(read(&self.0.busy_ns)).as_secs_f64();
        ConstCounter::new(busy).encode(encoder)
    }
}
