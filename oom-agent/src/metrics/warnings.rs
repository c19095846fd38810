use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use pressure::Level;

type Labels = [(&'static str, &'static str); 1];

/// Pressure warnings and their actions. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct WarningCounts {
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
    pub(crate) unheeded: Counter,
    warnings: Arc<[Counter; 2]>,
    at_level: Arc<[Gauge; 2]>,
}

// === impl WarningCounts ===

impl WarningCounts {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let near: Family<Labels, Gauge> = Family::default();
        registry.register(
            "containers_near_limit",
            "Containers that are near their memory limits",
            near.clone(),
        );
        let near = Level::ALL.map(|level| near.get_or_create_owned(&[("level", level.as_str())]));
        let mut family = |name: &str, help: &str| {
            let family: Family<Labels, Counter> = Family::default();
            registry.register(name, help, family.clone());
            move |label, value| family.get_or_create_owned(&[(label, value)])
        };
        let warnings = family("warnings", "Containers that came near their memory limits");
        let posts = family("warning_posts", "POST requests of warnings");
        let bonks = family("warning_bonks", "Bonks of warnings");
        let pods = family("warning_pods", "Lookups of pods' annotations");
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        Self {
            dropped: counter("warnings_dropped", "Warnings that found no room in a queue"),
            signalled: counter(
                "warning_signals",
                "Processes that got the signal of a warning",
            ),
            unsignalled: counter(
                "warning_signals_failed",
                "Warnings whose signal did not reach all that it was for",
            ),
            unheeded: counter(
                "warning_annotations_not_heeded",
                "Annotations of pods that cannot be heeded",
            ),
            posted: posts("outcome", "taken"),
            unposted: posts("outcome", "failed"),
            bonked: bonks("outcome", "acknowledged"),
            unbonked: bonks("outcome", "failed"),
            answered: pods("outcome", "answered"),
            unanswered: pods("outcome", "failed"),
            warnings: Arc::new(Level::ALL.map(|level| warnings("level", level.as_str()))),
            at_level: Arc::new(near),
        }
    }

    pub(crate) fn count_warning(&self, level: Level) {
        for (known, counter) in Level::ALL.iter().zip(&*self.warnings) {
            counter.inc_by(u64::from(*known == level));
        }
    }

    /// The containers at each level, the lower level first.
    pub(crate) fn set_at_level(&self, containers: [usize; 2]) {
        for (gauge, containers) in self.at_level.iter().zip(containers) {
            gauge.set(i64::try_from(containers).unwrap_or(i64::MAX));
        }
    }
}
