//! The agent's metrics for Prometheus: `docs/metrics.md` is the contract. Any thread may count without
//! waiting. [`Readings`] bring what is counted elsewhere.

mod degraded;
mod forecast;
mod kills;
mod names;
mod no_victim;
mod optional;
mod sampler;
mod sink;
mod status_checks;
mod totals;
mod usages;
mod warnings;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

pub(crate) use kills::Who;
pub(crate) use names::NameCounts;
pub(crate) use no_victim::NoVictimCounts;
pub(crate) use prometheus_client::metrics::counter::Counter;
pub(crate) use sink::{EventCounts, JournalCounts, SinkCounts};
pub(crate) use totals::{Readings, Totals};
pub(crate) use warnings::WarningCounts;

use crate::incident::Incident;
use crate::status_check::{Judgement, UndecidedReason};
use degraded::Degraded;
use forecast::Forecasts;
use kills::Kills;
use oom_capture::{Kill, Reading};
use optional::Optional;
use pressure::{Counts, Sample};
use sink::Sinks;
use status_checks::StatusChecks;
use usages::Usages;

/// That of [`Metrics::encode`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// In seconds, from the time for one line to that for a restart of an API server.
const BUCKETS: [f64; 16] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
    60.0, 300.0,
];

pub(crate) struct Metrics {
    registry: Registry,
    incidents: Counter,
    groups: Counter,
    fates: [Counter; FATES.len()],
    without_mark: Counter,
    without_cgroup: Counter,
    degraded_incidents: Counter,
    degraded: Degraded,
    incidents_lost: Counter,
    /// Incidents that could not be written to standard output.
    pub(crate) lines_unwritten: Counter,
    /// Connections of the admin port that were closed for newer ones.
    pub(crate) connections_evicted: Counter,
    pub(crate) sampler: Arc<Counts>,
    pub(crate) warnings: WarningCounts,
    pub(crate) names: NameCounts,
    /// Incidents of other nodes on the same kernel.
    pub(crate) elsewhere: Counter,
    pub(crate) no_victim: NoVictimCounts,
    pub(crate) events: EventCounts,
    status_checks: StatusChecks,
    pub(crate) journal: JournalCounts,
    latency: Histogram,
    kills: Arc<Kills>,
    usages: Arc<Usages>,
    forecasts: Arc<Forecasts>,
    sinks: Sinks,
    losses: [Counter; LOSSES.len()],
    /// Incidents from before the programs were attached.
    waited: Counter,
    /// By how much the other incidents raise the kernel's own count.
    counted_kills: AtomicU64,
    attached_ns: AtomicU64,
    kernel_kills: Optional<Counter>,
    drift: Optional<Gauge>,
    watch_updates: Family<[(&'static str, &'static str); 1], Counter>,
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("oom_agent");
        let family = |registry: &mut Registry, name: &str, help: &str| {
            let family: Family<[(&str, &str); 1], Counter> = Family::default();
            registry.register(name, help, family.clone());
            family
        };
        let fates = family(
            &mut registry,
            "victims",
            "Victims, by how much of them was read",
        );
        let losses = family(
            &mut registry,
            "lost",
            "Records and log lines that were lost, by where",
        );
        let watch_updates = Family::default();
        registry.register(
            "watch_updates",
            "Containers' statuses that watch-pods has read, and the kills in them, by how they were handled",
            Family::clone(&watch_updates),
        );
        let (kernel_kills, drift) = register_kernel_counts(&mut registry);
        let latency = Histogram::new(BUCKETS);
        registry.register_with_unit(
            "incident_latency",
            "From the kernel's stamp until the incident was reported",
            Unit::Seconds,
            latency.clone(),
        );
        register_build(&mut registry);
        Self {
            events: EventCounts::new(&mut registry),
            journal: JournalCounts::new(&mut registry),
            names: NameCounts::new(&mut registry),
            elsewhere: counter(
                &mut registry,
                "other_node_incidents",
                "Incidents that were not reported: they belong to another node on the same kernel",
            ),
            status_checks: StatusChecks::new(&mut registry),
            sampler: sampler::register(&mut registry),
            warnings: WarningCounts::new(&mut registry),
            no_victim: NoVictimCounts::new(&mut registry),
            kills: Kills::new(&mut registry),
            usages: Usages::new(&mut registry),
            forecasts: Forecasts::new(&mut registry),
            incidents: counter(&mut registry, "incidents", "OOM incidents reported"),
            groups: counter(
                &mut registry,
                "group_kills",
                "Incidents in which a cgroup died as one",
            ),
            fates: FATES.map(|fate| fates.get_or_create_owned(&[("fate", fate)])),
            without_mark: counter(
                &mut registry,
                "incidents_without_mark",
                "Incidents whose trigger is not known: its record was lost",
            ),
            without_cgroup: counter(
                &mut registry,
                "victims_without_cgroup",
                "Victims whose cgroup is not known",
            ),
            degraded_incidents: counter(
                &mut registry,
                "degraded_incidents",
                "Incidents in which something could not be found out",
            ),
            degraded: Degraded::new(&mut registry),
            incidents_lost: counter(
                &mut registry,
                "incidents_untold",
                "Incidents lost inside the agent",
            ),
            lines_unwritten: counter(
                &mut registry,
                "lines_unwritten",
                "Incidents that could not be written to standard output",
            ),
            connections_evicted: counter(
                &mut registry,
                "admin_connections_evicted",
                "Connections closed because newer ones took their place",
            ),
            waited: counter(
                &mut registry,
                "incidents_waited",
                "Incidents of kills that waited for the agent to be started again",
            ),
            counted_kills: AtomicU64::new(0),
            attached_ns: AtomicU64::new(0),
            latency,
            sinks: Sinks::new(&mut registry),
            losses: LOSSES.map(|reason| losses.get_or_create_owned(&[("reason", reason)])),
            kernel_kills,
            drift,
            watch_updates,
            registry,
        }
    }
}

fn register_build(registry: &mut Registry) {
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The program", build);
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

/// Compares with the kernel's own count.
fn register_kernel_counts(registry: &mut Registry) -> (Optional<Counter>, Optional<Gauge>) {
    let (kernel_kills, drift) = (Optional::default(), Optional::default());
    registry.register(
        "kernel_kills",
        "Kills that the kernel counted since the agent attached",
        Optional::clone(&kernel_kills),
    );
    registry.register(
        "drift",
        "Kills that the kernel counted and the agent did not see",
        Optional::clone(&drift),
    );
    (kernel_kills, drift)
}

/// The order of [`Metrics::fates`].
const FATES: [&str; 5] = ["autopsied", "outside", "unseen", "counted", "exiting"];

/// The order of [`Metrics::losses`].
const LOSSES: [&str; 6] = [
    "ring-full",
    "marks-full",
    "malformed",
    "not-kept",
    "ring-discarded",
    "log",
];

impl Metrics {
    /// When the programs were attached: `CLOCK_MONOTONIC`, in ns.
    pub(crate) fn set_attached(&self, now_ns: u64) {
        self.attached_ns.store(now_ns, Ordering::Relaxed);
    }

    /// Counts a kill or a group kill.
    pub(crate) fn count_kill(&self, kill: &Kill) {
        if kill.stamp_ns < self.attached_ns.load(Ordering::Relaxed) {
            self.waited.inc();
        } else {
            let counted = kill.counted_by_kernel();
            self.counted_kills.fetch_add(counted, Ordering::Relaxed);
        }
        self.groups.inc_by(u64::from(kill.is_group()));
        self.without_mark.inc_by(u64::from(kill.trigger.is_none()));
        let [autopsied, outside, unseen, counted, exiting] = &self.fates;
        let more = kill.unlisted;
        autopsied.inc_by(more.autopsied);
        outside.inc_by(more.outside);
        unseen.inc_by(more.unseen);
        counted.inc_by(more.counted);
        exiting.inc_by(more.exiting);
        for victim in &kill.victims {
            let counter = match victim.reading {
                _ if victim.exiting => exiting,
                Reading::Autopsied => autopsied,
                Reading::Outside => outside,
                Reading::Unseen => unseen,
                Reading::Counted => counted,
            };
            counter.inc();
        }
    }

    /// Counts an incident reported at `now_ns` (`CLOCK_MONOTONIC`).
    pub(crate) fn count_incident(&self, incident: &Incident, now_ns: u64) {
        self.incidents.inc();
        self.degraded_incidents
            .inc_by(u64::from(!incident.degraded.is_empty()));
        self.degraded.count(&incident.degraded);
        for victim in &incident.victims {
            self.without_cgroup
                .inc_by(u64::from(victim.cgroup.is_none()));
            let who = Who::from_victim(victim);
            self.kills
                .count(who, incident.scope, incident.outcome, now_ns);
        }
        self.latency
            .observe(seconds(now_ns.saturating_sub(incident.stamp_ns)));
    }

    /// Counts an incident that was never reported.
    pub(crate) fn count_lost(&self) {
        self.incidents_lost.inc();
    }

    pub(crate) fn count_judgement(&self, judgement: &Judgement) {
        self.status_checks.count(judgement, 1);
    }

    /// Counts containers that will not be compared.
    pub(crate) fn count_undecided(&self, reason: UndecidedReason, containers: u64) {
        self.status_checks
            .count(&Judgement::Undecided(reason), containers);
    }

    /// `containers` are all that run on this node at `now_ns`: each starts at zero.
    pub(crate) fn set_running(&self, containers: Vec<Who>, now_ns: u64) {
        self.kills.set_running(containers, now_ns);
    }

    /// Replaces all.
    pub(crate) fn set_usages(&self, usages: impl IntoIterator<Item = (Who, Sample)>) {
        self.usages.set(usages);
    }

    /// The time that each growing container has left. `unrecorded` counts the samples so far for which the
    /// flight recorder had no room.
    pub(crate) fn set_forecasts(&self, forecasts: Vec<(Who, Duration)>, unrecorded: u64) {
        self.forecasts.set(forecasts, unrecorded);
    }

    pub(crate) fn watch_update(&self, update_type: &'static str) -> Counter {
        self.watch_updates
            .get_or_create_owned(&[("update_type", update_type)])
    }

    pub(crate) fn sink(&self, name: &str) -> SinkCounts {
        self.sinks.register(name)
    }

    /// Sets what is counted elsewhere.
    pub(crate) fn set_readings(&self, readings: Readings) {
        let Readings {
            ring_full,
            marks_full,
            malformed,
            not_kept,
            rings_discarded,
            log_lines_dropped,
            kernel_kills,
        } = readings;
        let losses = [
            ring_full,
            marks_full,
            malformed,
            not_kept,
            rings_discarded,
            log_lines_dropped,
        ];
        for (counter, loss) in self.losses.iter().zip(losses) {
            raise(counter, loss);
        }
        let Some(kills) = kernel_kills else {
            self.kernel_kills.set(None);
            self.drift.set(None);
            return;
        };
        let counter = Counter::default();
        counter.inc_by(kills);
        self.kernel_kills.set(Some(counter));
        let drift = i64::try_from(kills)
            .unwrap_or(i64::MAX)
            .saturating_sub_unsigned(self.counted_kills.load(Ordering::Relaxed));
        let gauge = Gauge::default();
        gauge.set(drift);
        self.drift.set(Some(gauge));
    }

    /// The text for Prometheus, at `now_ns` (`CLOCK_MONOTONIC`).
    pub(crate) fn encode(&self, now_ns: u64) -> Result<String, fmt::Error> {
        self.kills.expire(now_ns);
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// For the log's summary.
    pub(crate) fn totals(&self) -> Totals {
        let [autopsied, outside, unseen, counted, exiting] = &self.fates;
        let loss = |n: usize| self.losses.get(n).map_or(0, Counter::get);
        Totals {
            incidents: self.incidents.get(),
            groups: self.groups.get(),
            waited: self.waited.get(),
            autopsied: autopsied.get() + outside.get(),
            exiting: exiting.get(),
            unseen: unseen.get(),
            counted: counted.get(),
            without_mark: self.without_mark.get(),
            without_cgroup: self.without_cgroup.get(),
            degraded: self.degraded_incidents.get(),
            lost: self.incidents_lost.get(),
            unwritten: self.lines_unwritten.get(),
            drift: self.drift.map(Gauge::get),
            readings: Readings {
                ring_full: loss(0),
                marks_full: loss(1),
                malformed: loss(2),
                not_kept: loss(3),
                rings_discarded: loss(4),
                log_lines_dropped: loss(5),
                kernel_kills: self.kernel_kills.map(Counter::get),
            },
        }
    }

    /// By name.
    pub(crate) fn sinks(&self) -> Vec<(String, SinkCounts)> {
        self.sinks.all()
    }
}

/// These counts only grow, and two readings may come in either order.
fn raise(counter: &Counter, to: u64) {
    counter.inner().fetch_max(to, Ordering::Relaxed);
}

fn seconds(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}

/// Counts stay valid after a panic.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
