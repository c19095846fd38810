//! The bonker's own counters.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use strum::VariantArray as _;

use crate::motion::Gesture;

/// Senders with a series of their own. A sender's name can be anything.
const SOURCES: [&str; 6] = [
    "oom-agent",
    "alertmanager",
    "bonker-gpio",
    "follow",
    "page",
    OTHER,
];
const OTHER: &str = "other";

/// Answers that the hook gives by itself.
const HOOK_STATUSES: [u16; 6] = [200, 400, 408, 413, 415, 503];

pub(crate) type Labels<const N: usize> = [(&'static str, String); N];

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) swings: SwingCounters,
    pub(crate) hooks: HookCounters,
    /// Empty if no other bonker is followed.
    pub(crate) following: OnceLock<FollowCounters>,
}

/// Swings that moved the servo, by gesture and source, and the time with pulses.
pub(crate) struct SwingCounters {
    pub(crate) bonks: Family<Labels<2>, Counter>,
    pub(crate) pulses: Counter<f64, AtomicU64>,
}

/// Answers of the hook, by status.
pub(crate) struct HookCounters(pub(crate) Family<Labels<1>, Counter>);

/// How following another bonker, the hub, goes.
#[derive(Debug, Default)]
pub struct FollowCounters {
    /// 1 or 0.
    pub connected: Gauge,
    /// Connections after the first.
    pub reconnects: Counter,
    /// Swings of the hub that were submitted here.
    pub taken: Counter,
    /// Swings that were no longer in the hub's history when they were requested.
    pub missed: Counter,
    /// How often the hub had lost history that it had already sent.
    pub histories_lost: Counter,
}

pub(crate) fn add<const N: usize>(
    family: &Family<Labels<N>, Counter>,
    labels: &Labels<N>,
    count: u64,
) {
    family.get_or_create_owned(labels).inc_by(count);
}

// === impl SwingCounters ===

/// Every series exists from the start, at 0: `increase()` does not see one that appears with a 1.
impl Default for SwingCounters {
    fn default() -> Self {
        let bonks = Family::default();
        for &gesture in Gesture::VARIANTS {
            for source in SOURCES {
                add(&bonks, &swing_labels(gesture, source), 0);
            }
        }
        Self {
            bonks,
            pulses: Counter::default(),
        }
    }
}

impl SwingCounters {
    pub(crate) fn count(&self, gesture: Gesture, source: &str) {
        let source = SOURCES.into_iter().find(|known| *known == source);
        let labels = swing_labels(gesture, source.unwrap_or(OTHER));
        add(&self.bonks, &labels, 1);
    }

    pub(crate) fn add_pulses(&self, time: Duration) {
        self.pulses.inc_by(time.as_secs_f64());
    }
}

fn swing_labels(gesture: Gesture, source: &str) -> Labels<2> {
    [
        ("gesture", gesture.name().to_owned()),
        ("source", source.to_owned()),
    ]
}

// === impl HookCounters ===

impl Default for HookCounters {
    fn default() -> Self {
        let family = Family::default();
        for status in HOOK_STATUSES {
            add(&family, &[("status", status.to_string())], 0);
        }
        Self(family)
    }
}

impl HookCounters {
    pub(crate) fn count(&self, status: u16) {
        add(&self.0, &[("status", status.to_string())], 1);
    }
}
