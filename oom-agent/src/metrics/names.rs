use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What the runtimes were asked of containers before there was a kill. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct NameCounts {
    /// A runtime knew the container.
    pub answered: Counter,
    /// None did.
    pub unknown: Counter,
    /// No runtime answered in time.
    pub failed: Counter,
    /// Containers that found no room.
    pub dropped: Counter,
    known: Gauge,
    wanted: Gauge,
}

// === impl NameCounts ===

impl NameCounts {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let lookups: Family<[(&str, &str); 1], Counter> = Family::default();
        registry.register(
            "name_lookups",
            "Containers that a runtime was asked for when their cgroups appeared",
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
            "Containers whose names found no room",
            counts.dropped.clone(),
        );
        registry.register(
            "known_names",
            "Containers whose names are known before they are needed",
            counts.known.clone(),
        );
        registry.register(
            "wanted_names",
            "Containers that no runtime has told the name of yet",
            counts.wanted.clone(),
        );
        counts
    }

    /// So many names are known, and so many are waited for.
    pub fn show(&self, known: usize, wanted: usize) {
        for (gauge, containers) in [(&self.known, known), (&self.wanted, wanted)] {
            gauge.set(i64::try_from(containers).unwrap_or(i64::MAX));
        }
    }
}
