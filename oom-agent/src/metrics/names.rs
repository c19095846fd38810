use prometheus_client::registry::Registry;

use super::{Counter, Gauge, register, register_labelled};

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
        let [answered, unknown, failed] = register_labelled(
            registry,
            "name_lookups",
            "Lookups of containers in the runtimes when their cgroups appeared",
            "outcome",
            ["answered", "unknown", "failed"],
        );
        Self {
            answered,
            unknown,
            failed,
            dropped: register(
                registry,
                "names_dropped",
                "Containers for whose names there was no room",
            ),
            known: register(
                registry,
                "known_names",
                "Containers whose names are known before they are needed",
            ),
            wanted: register(
                registry,
                "wanted_names",
                "Containers whose names no runtime knows yet",
            ),
        }
    }

    pub(crate) fn set(&self, known: usize, wanted: usize) {
        self.known.set(known as u64);
        self.wanted.set(wanted as u64);
    }
}
