use std::fmt;
use std::sync::{Arc, Mutex};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric};

use super::lock;

/// A metric that is absent while its value is not known.
#[derive(Debug)]
pub(super) struct Optional<M>(Arc<Mutex<Option<M>>>);

// === impl Optional ===

impl<M> Optional<M> {
    pub(super) fn set(&self, metric: Option<M>) {
        *lock(&self.0) = metric;
    }

    pub(super) fn map<T>(&self, value: impl FnOnce(&M) -> T) -> Option<T> {
        lock(&self.0).as_ref().map(value)
    }
}

impl<M> Clone for Optional<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> Default for Optional<M> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<M: EncodeMetric + TypedMetric> EncodeMetric for Optional<M> {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        lock(&self.0)
            .as_ref()
            .map_or(Ok(()), |metric| metric.encode(encoder))
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }

    fn is_empty(&self) -> bool {
        lock(&self.0).is_none()
    }
}
