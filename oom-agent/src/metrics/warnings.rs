use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use pressure::Level;

type Labels = [(&'static str, &'static str); 1];

/// What became of containers that came near their limits. Cheap to clone.
#[derive(Clone, Debug)]
pub struct WarningCounts {
    /// Warnings that found no room in a queue.
    pub dropped: Counter,
    /// Processes that got a signal.
    pub signalled: Counter,
    /// Warnings whose signal did not reach all that it was for.
    pub unsignalled: Counter,
    /// POST requests that were accepted.
    pub posted: Counter,
    /// Those that were not.
    pub unposted: Counter,
    /// Bonks that were acknowledged.
    pub bonked: Counter,
    /// Those that were not, or that no bonker was there for.
    pub unbonked: Counter,
    /// Annotations that were read.
    pub looked_up: Counter,
    /// Pods of which they could not be had.
    pub unanswered: Counter,
    /// Annotations that cannot be heeded.
    pub unheeded: Counter,
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
            looked_up: pods("outcome", "answered"),
            unanswered: pods("outcome", "failed"),
            warnings: Arc::new(Level::ALL.map(|level| warnings("level", level.as_str()))),
            at_level: Arc::new(near),
        }
    }

    /// A container has come to that level.
    pub fn warned(&self, level: Level) {
        for (of, counter) in Level::ALL.iter().zip(&*self.warnings) {
            counter.inc_by(u64::from(*of == level));
        }
    }

    /// So many are at each level now, the lower first.
    pub fn at_level(&self, containers: [usize; 2]) {
        for (gauge, containers) in self.at_level.iter().zip(containers) {
            gauge.set(i64::try_from(containers).unwrap_or(i64::MAX));
        }
    }
}
