use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::no_victim::Cause;

/// OOMs without a victim, by cause. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct NoVictimCounts([Counter; Cause::ALL.len()]);

// === impl NoVictimCounts ===

impl NoVictimCounts {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let family: Family<[(&str, &str); 1], Counter> = Family::default();
        registry.register(
            "ooms_without_victim",
            "Episodes of cgroups that were out of memory while nobody was killed",
            family.clone(),
        );
        Self(Cause::ALL.map(|cause| family.get_or_create_owned(&[("cause", cause.as_str())])))
    }

    pub(crate) fn count(&self, cause: Cause) {
        if let Some(count) = self.0.get(cause as usize) {
            count.inc();
        }
    }
}
