//! What Prometheus reads of the bonker: `docs/bonker-metrics.md` is the contract. Most of it is
//! counted elsewhere, and written out for each scrape.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::arm::Backend;
use crate::desk::{Outcome, Status};
use crate::follow::Following;
use crate::motion::Gesture;

/// What [`encode`] writes.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Who bonks, as far as told apart. What senders say of themselves is anything.
const SOURCES: [&str; 6] = [
    "oom-agent",
    "alertmanager",
    "bonker-gpio",
    "follow",
    "page",
    OTHER,
];
const OTHER: &str = "other";

const GESTURES: [Gesture; 5] = [
    Gesture::Nudge,
    Gesture::DoubleNudge,
    Gesture::Bonk,
    Gesture::Frenzy,
    Gesture::Toggle,
];

/// Answers of the hook that it gives by itself.
const HOOK_STATUSES: [u16; 6] = [200, 400, 408, 413, 415, 503];

type Labels<const N: usize> = [(&'static str, String); N];

/// Swings that moved the servo, by gesture and source, and for how long. Clones count together.
#[derive(Clone)]
pub(crate) struct SwingCounts {
    bonks: Family<Labels<2>, Counter>,
    pulses: Counter<f64, AtomicU64>,
}

/// Answers of the hook, by status. Clones count together.
#[derive(Clone)]
pub(crate) struct HookCounts(Family<Labels<1>, Counter>);

/// What is written out beside.
pub(crate) struct Readings<'a> {
    pub(crate) status: Status,
    pub(crate) watchers: usize,
    pub(crate) swings: &'a SwingCounts,
    pub(crate) hooks: &'a HookCounts,
    pub(crate) following: Option<&'a Following>,
    pub(crate) backend: &'a Backend,
}

/// The metrics, as `OpenMetrics` has them.
pub(crate) fn encode(readings: &Readings<'_>) -> Result<String, fmt::Error> {
    let mut text = String::new();
    text::encode(&mut text, &registry(readings))?;
    Ok(text)
}

fn registry(readings: &Readings<'_>) -> Registry {
    let mut registry = Registry::with_prefix("bonker");
    let Readings { status, .. } = readings;
    registry.register(
        "bonks",
        "Swings that moved the servo, by gesture and by who asked for them",
        readings.swings.bonks.clone(),
    );
    registry.register_with_unit(
        "pulses",
        "For how long the servo was sent pulses, at boot and at rest too",
        Unit::Seconds,
        readings.swings.pulses.clone(),
    );
    let requests: Family<Labels<1>, Counter> = Family::default();
    for outcome in Outcome::ALL {
        let name = outcome.name().to_ascii_lowercase();
        count(&requests, &[("outcome", name)], status.tally.of(outcome));
    }
    registry.register("requests", "Items, by what they were answered", requests);
    let waited: Family<Labels<1>, Counter> = Family::default();
    let reason = |name: &str| [("reason", name.to_owned())];
    count(&waited, &reason("expired"), status.tally.expired_waiting);
    count(&waited, &reason("quiet"), status.tally.quiet_waiting);
    registry.register(
        "waited_in_vain",
        "Items that were queued and never swung, by why",
        waited,
    );
    let failed: Counter = Counter::default();
    failed.inc_by(status.failed_swings);
    registry.register(
        "failed_swings",
        "Swings of which the servo failed a step",
        failed,
    );
    registry.register(
        "hook_requests",
        "Payloads posted to the hook, by the status of the answer",
        readings.hooks.0.clone(),
    );
    let mut gauge = |name: &str, help: &str, value: u64| {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        registry.register(name, help, ConstGauge::new(value));
    };
    gauge(
        "queue_length",
        "Jobs that wait for the servo",
        status.queue_length as u64,
    );
    gauge(
        "queue_capacity",
        "How many jobs may wait",
        status.queue_capacity as u64,
    );
    gauge(
        "history_swings",
        "Swings in the whole history, over restarts",
        status.total_swings,
    );
    gauge(
        "watchers",
        "Who is told of each swing: calls of WatchBonks and listening pages",
        readings.watchers as u64,
    );
    time(
        &mut registry,
        "last_bonk_timestamp",
        "When the last swing began; absent before the first",
        status.last_swing_at,
    );
    time(
        &mut registry,
        "snoozed_until_timestamp",
        "Until when the penguin is left in peace; absent when it is not",
        status.snoozed_until,
    );
    if let Some(following) = readings.following {
        follow(&mut registry, following);
    }
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The program", build);
    let backend = Info::new([("name", readings.backend.name)]);
    registry.register("backend", "What moves the servo", backend);
    registry
}

/// Of a bonker that follows another one.
fn follow(registry: &mut Registry, following: &Following) {
    registry.register(
        "follow_connected",
        "1 while the hub tells of its swings, else 0",
        ConstGauge::new(i64::from(following.is_connected())),
    );
    for (name, help, value) in [
        (
            "follow_taken",
            "Swings of the hub that the own desk decided on",
            following.taken(),
        ),
        (
            "follow_missed",
            "Swings that the hub no longer had when asked",
            following.missed(),
        ),
        (
            "follow_reconnects",
            "Connections to the hub after the first",
            following.reconnects(),
        ),
        (
            "follow_histories_lost",
            "How often the hub had lost history that was followed already",
            following.histories_lost(),
        ),
    ] {
        let counter: Counter = Counter::default();
        counter.inc_by(value);
        registry.register(name, help, counter);
    }
}

fn count<const N: usize>(family: &Family<Labels<N>, Counter>, labels: &Labels<N>, by: u64) {
    family.get_or_create_owned(labels).inc_by(by);
}

/// A time in seconds since 1970, if there is one.
fn time(registry: &mut Registry, name: &str, help: &str, at: Option<Timestamp>) {
    if let Some(at) = at {
        let seconds = at.as_duration().as_secs_f64();
        registry.register_with_unit(name, help, Unit::Seconds, ConstGauge::new(seconds));
    }
}

// === impl SwingCounts ===

/// Every series is there from the start, at 0: `increase()` sees nothing in one that appears
/// with a 1.
impl Default for SwingCounts {
    fn default() -> Self {
        let family = Family::default();
        for gesture in GESTURES {
            for source in SOURCES {
                count(&family, &swing_labels(gesture, source), 0);
            }
        }
        Self {
            bonks: family,
            pulses: Counter::default(),
        }
    }
}

impl SwingCounts {
    /// The servo took the first pulse of a `gesture` that `source` asked for.
    pub(crate) fn count(&self, gesture: Gesture, source: &str) {
        let source = SOURCES.into_iter().find(|known| *known == source);
        let labels = swing_labels(gesture, source.unwrap_or(OTHER));
        count(&self.bonks, &labels, 1);
    }

    /// Pulses were on for `time`.
    pub(crate) fn pulsed(&self, time: Duration) {
        self.pulses.inc_by(time.as_secs_f64());
    }
}

fn swing_labels(gesture: Gesture, source: &str) -> Labels<2> {
    [
        ("gesture", gesture.name().to_owned()),
        ("source", source.to_owned()),
    ]
}

// === impl HookCounts ===

impl Default for HookCounts {
    fn default() -> Self {
        let family = Family::default();
        for status in HOOK_STATUSES {
            count(&family, &[("status", status.to_string())], 0);
        }
        Self(family)
    }
}

impl HookCounts {
    /// A payload was answered with `status`.
    pub(crate) fn count(&self, status: u16) {
        count(&self.0, &[("status", status.to_string())], 1);
    }
}
