use prometheus_client::registry::Registry;

use super::{Counter, Gauge, Labelled, register, register_labelled};
use pressure::Level;

/// Pressure warnings and their actions. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct WarningCounts {
    /// Containers that came to a level.
    pub(crate) warnings: Labelled<Level>,
    /// Warnings that found a queue full.
    pub(crate) dropped: Counter,
    /// Processes that got a signal.
    pub(crate) signalled: Counter,
    /// Warnings whose signal missed a process.
    pub(crate) unsignalled: Counter,
    /// POST requests that were accepted.
    pub(crate) posted: Counter,
    pub(crate) unposted: Counter,
    /// Acknowledged.
    pub(crate) bonked: Counter,
    /// Not acknowledged, or without a bonker.
    pub(crate) unbonked: Counter,
    /// Pods whose annotations were read.
    pub(crate) answered: Counter,
    /// Pods whose annotations could not be read.
    pub(crate) unanswered: Counter,
    /// Invalid annotations.
    pub(crate) unusable: Counter,
    at_level: Labelled<Level, Gauge>,
}

// === impl WarningCounts ===

impl WarningCounts {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let levels = Level::ALL.map(|level| (level, level.as_str()));
        let mut outcomes = |name, help, values| {
            let counters = register_labelled(registry, name, help, "outcome", values);
            counters.into()
        };
        let (posted, unposted) = outcomes(
            "warning_posts",
            "POST requests of warnings",
            ["taken", "failed"],
        );
        let (bonked, unbonked) = outcomes(
            "warning_bonks",
            "Bonks of warnings",
            ["acknowledged", "failed"],
        );
        let (answered, unanswered) = outcomes(
            "warning_pods",
            "Lookups of pods' annotations",
            ["answered", "failed"],
        );
        Self {
            posted,
            unposted,
            bonked,
            unbonked,
            answered,
            unanswered,
            at_level: Labelled::new(
                registry,
                "containers_near_limit",
                "Containers that are near their memory limits",
                "level",
                levels,
            ),
            warnings: Labelled::new(
                registry,
                "warnings",
                "Containers that came near their memory limits",
                "level",
                levels,
            ),
            dropped: register(
                registry,
                "warnings_dropped",
                "Warnings that found no room in a queue",
            ),
            signalled: register(
                registry,
                "warning_signals",
                "Processes that got the signal of a warning",
            ),
            unsignalled: register(
                registry,
                "warning_signals_failed",
                "Warnings whose signal did not reach all that it was for",
            ),
            unusable: register(
                registry,
                "warning_annotations_not_heeded",
                "Annotations of pods that cannot be heeded",
            ),
        }
    }

    /// The containers at each level, the lower level first.
    pub(crate) fn set_at_level(&self, containers: [usize; 2]) {
        for ((_, gauge), containers) in self.at_level.iter().zip(containers) {
            gauge.set(containers as u64);
        }
    }
}
