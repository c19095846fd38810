//! Seconds until growing containers reach their limits.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::kills::{MAX_CONTAINERS, Who};
use super::lock;

#[derive(Debug, Default)]
pub(super) struct Forecasts {
    all: Mutex<Vec<(Who, Duration)>>,
    unrecorded: Counter,
}

// === impl Forecasts ===

impl Forecasts {
    pub(super) fn new(registry: &mut Registry) -> Arc<Self> {
        let this = Arc::new(Self::default());
        registry.register(
            "unrecorded_samples",
            "Looks at a cgroup's memory that the flight recorder had no room for",
            this.unrecorded.clone(),
        );
        registry.register_collector(Box::new(Arc::clone(&this)));
        this
    }

    /// Replaces all. Of too many, those with most time left are dropped.
    pub(super) fn set(&self, mut all: Vec<(Who, Duration)>, unrecorded: u64) {
        // Of two instances of one container the one nearer to its limit.
        all.sort();
        all.dedup_by(|later, first| later.0 == first.0);
        all.sort_by_key(|(_, left)| *left);
        all.truncate(MAX_CONTAINERS);
        *lock(&self.all) = all;
        let more = unrecorded.saturating_sub(self.unrecorded.get());
        self.unrecorded.inc_by(more);
    }
}

impl Collector for Forecasts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = lock(&self.all).clone();
        if all.is_empty() {
            return Ok(());
        }
        let mut encoder = encoder.encode_descriptor(
            "container_seconds_to_limit",
            "Until a container comes to its memory limit if it grows on like this",
            None,
            MetricType::Gauge,
        )?;
        for (who, left) in &all {
            ConstGauge::new(left.as_secs_f64()).encode(encoder.encode_family(&who.labels())?)?;
        }
        Ok(())
    }
}
