use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pressure::Counts;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

type Metric = (
    MetricType,
    &'static str,
    &'static str,
    fn(&Counts) -> &AtomicU64,
);

const METRICS: [Metric; 9] = [
    (
        MetricType::Counter,
        "sampler_passes",
        "Sweeps over the memory of all watched containers.",
        |counts| &counts.sweeps,
    ),
    (
        MetricType::Counter,
        "sampler_looks_between",
        "Samples of one container between sweeps.",
        |counts| &counts.between,
    ),
    (
        MetricType::Counter,
        "sampler_looks_postponed",
        "Samples between sweeps that were postponed.",
        |counts| &counts.postponed,
    ),
    (
        MetricType::Counter,
        "sampler_looks_failed",
        "Samples of a container that is there and could not be read.",
        |counts| &counts.failed,
    ),
    (
        MetricType::Counter,
        "sampler_rescans",
        "Times that all cgroups were walked again.",
        |counts| &counts.rescans,
    ),
    (
        MetricType::Gauge,
        "sampler_running",
        "Whether the thread runs that samples containers' memory.",
        |counts| &counts.running,
    ),
    (
        MetricType::Gauge,
        "watched_containers",
        "Containers with a memory limit whose usage is sampled.",
        |counts| &counts.watched,
    ),
    (
        MetricType::Gauge,
        "unwatched_containers",
        "Containers with a memory limit for which there is no room.",
        |counts| &counts.no_room,
    ),
    (
        MetricType::Gauge,
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
        for (kind, name, help, count) in METRICS {
            let encoder = encoder.encode_descriptor(name, help, None, kind)?;
            let value = read(count(&self.0));
            match kind {
                MetricType::Gauge => ConstGauge::new(value).encode(encoder)?,
                _ => ConstCounter::new(value).encode(encoder)?,
            }
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
