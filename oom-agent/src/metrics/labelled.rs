use std::sync::Arc;

use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Metric, Registry};

use super::{Counter, register};

/// A metric with one label: a series for each value of `K`, shown from the start. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Labelled<K, M = Counter>(Arc<[(K, M)]>);

// === impl Labelled ===

impl<K, M: Metric + TypedMetric + Clone + Default> Labelled<K, M> {
    /// `values` are all values, and the label's text for each.
    pub(super) fn new(
        registry: &mut Registry,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl IntoIterator<Item = (K, &'static str)>,
    ) -> Self {
        let family: Family<[(&str, &str); 1], M> = register(registry, name, help);
        let series = |(value, text)| (value, family.get_or_create_owned(&[(label, text)]));
        Self(values.into_iter().map(series).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(K, M)> {
        self.0.iter()
    }
}

impl<K: Copy + PartialEq> Labelled<K> {
    pub(crate) fn add(&self, value: K, more: u64) {
        for (known, counter) in self.iter() {
            counter.inc_by(if *known == value { more } else { 0 });
        }
    }
}
