use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Lookups of containers' names before a kill. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct NameCounts {
    /// A runtime knew the container.
    pub(crate) answered: Counter,
    /// No runtime knew it.
    pub(crate) unknown: Counter,
    /// No runtime answered in time.
    pub(crate) failed: Counter,
    /// Containers for which there was no room.
    pub(crate) dropped: Counter,
    known: Gauge,
    wanted: Gauge,
}

// === impl NameCounts ===

impl NameCounts {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let lookups: Family<[(&str, &str); 1], Counter> = Family::default();
        registry.register(
            "name_lookups",
            "Lookups of containers in the runtimes when their cgroups appeared",
            lookups.clone(),
        );
        let lookup = |outcome| lookups.get_or_create_owned(&[("outcome", outcome)]);
        let counts = Self {
            answered: lookup("answered"),
            unknown: lookup("unknown"),
            failed: lookup("failed"),
            ..Self::default()
        };
        registry.register(
            "names_dropped",
            "Containers for whose names there was no room",
            counts.dropped.clone(),
        );
        registry.register(
            "known_names",
            "Containers whose names are known before they are needed",
            counts.known.clone(),
        );
        registry.register(
            "wanted_names",
            "Containers whose names no runtime knows yet",
            counts.wanted.clone(),
        );
        counts
    }

    pub(crate) fn set(&self, known: usize, wanted: usize) {
        for (gauge, containers) in [(&self.known, known), (&self.wanted, wanted)] {
            gauge.set(i64::try_from(containers).unwrap_or(i64::MAX));
        }
    }
}
