//! The exposition for Prometheus, written for each scrape: `docs/bonker-metrics.md` is the
//! contract.

use std::fmt;

use jiff::Timestamp;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use strum::VariantArray as _;

use crate::admission::Outcome;
use crate::app::App;
use crate::counters::{FollowCounters, Labels, add};

pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics, as `OpenMetrics` has them.
pub(crate) fn encode(app: &App) -> Result<String, fmt::Error> {
    let mut text = String::new();
    text::encode(&mut text, &registry(app))?;
    Ok(text)
}

fn registry(app: &App) -> Registry {
    let mut registry = Registry::with_prefix("bonker");
    let (status, counters) = (app.status(), app.counters());
    registry.register(
        "bonks",
        "Swings that moved the servo, by gesture and source",
        counters.swings.bonks.clone(),
    );
    registry.register_with_unit(
        "pulses",
        "Time in which the servo was sent pulses, at boot and at rest too",
        Unit::Seconds,
        counters.swings.pulses.clone(),
    );
    let requests: Family<Labels<1>, Counter> = Family::default();
    for &outcome in Outcome::VARIANTS {
        let name = outcome.name().to_ascii_lowercase();
        add(&requests, &[("outcome", name)], status.tally.count(outcome));
    }
    registry.register("requests", "Items, by outcome", requests);
    let waited: Family<Labels<1>, Counter> = Family::default();
    let reason = |name: &str| [("reason", name.to_owned())];
    add(&waited, &reason("expired"), status.tally.expired_waiting);
    add(&waited, &reason("quiet"), status.tally.quiet_waiting);
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
        counters.hooks.0.clone(),
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
        "Calls of WatchBonks and pages that watch the swings",
        app.watchers() as u64,
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
        "End of the snooze; absent without one",
        status.snoozed_until,
    );
    if let Some(following) = app.following() {
        follow(&mut registry, following);
    }
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The program", build);
    let backend = Info::new([("name", app.backend().name)]);
    registry.register("backend", "What moves the servo", backend);
    registry
}

/// Of a bonker that follows another one.
fn follow(registry: &mut Registry, following: &FollowCounters) {
    registry.register(
        "follow_connected",
        "1 while the hub is connected, else 0",
        following.connected.clone(),
    );
    for (name, help, counter) in [
        (
            "follow_taken",
            "Swings of the hub that were submitted here",
            &following.taken,
        ),
        (
            "follow_missed",
            "Swings that the hub no longer had",
            &following.missed,
        ),
        (
            "follow_reconnects",
            "Connections to the hub after the first",
            &following.reconnects,
        ),
        (
            "follow_histories_lost",
            "How often the hub had lost history that was followed already",
            &following.histories_lost,
        ),
    ] {
        registry.register(name, help, counter.clone());
    }
}

/// A time in seconds since 1970, if there is one.
fn time(registry: &mut Registry, name: &str, help: &str, at: Option<Timestamp>) {
    if let Some(at) = at {
        let seconds = at.as_duration().as_secs_f64();
        registry.register_with_unit(name, help, Unit::Seconds, ConstGauge::new(seconds));
    }
}
