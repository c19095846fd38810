//! What is counted, and how Prometheus reads it: `docs/metrics.md` is the contract. Counts come
//! in from any thread and wait for nothing; whoever encodes brings what lies elsewhere as [`Readings`].

mod degraded;
mod forecast;
mod kills;
mod names;
mod no_victim;
mod optional;
mod sampler;
mod sink;
mod totals;
mod usages;
mod verdicts;
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

pub use kills::Who;
pub use names::NameCounts;
pub use no_victim::NoVictimCounts;
pub use prometheus_client::metrics::counter::Counter;
pub use sampler::SamplerCounts;
pub use sink::{EventCounts, JournalCounts, SinkCounts};
pub use totals::{Readings, Totals};
pub use warnings::WarningCounts;

use crate::incident::Incident;
use crate::pressure::Usage;
use crate::story::{Judgement, Why};
use degraded::Degraded;
use forecast::Forecasts;
use kills::Kills;
use oom_capture::{Kill, Reading};
use optional::Optional;
use sink::Sinks;
use usages::Usages;
use verdicts::Verdicts;

/// What [`Metrics::encode`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// From what a line by itself takes to what a restart of an API server costs, in seconds.
const BUCKETS: [f64; 16] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
    60.0, 300.0,
];

/// Every counter of the agent.
pub struct Metrics {
    registry: Registry,
    incidents: Counter,
    groups: Counter,
    fates: [Counter; FATES.len()],
    without_mark: Counter,
    without_cgroup: Counter,
    degraded_incidents: Counter,
    degraded: Degraded,
    untold: Counter,
    /// Lines of incidents that standard output did not take.
    pub lines_unwritten: Counter,
    /// Connections of the admin port that were closed to make room for another.
    pub connections_evicted: Counter,
    /// What the sampler of the containers' usage does.
    pub sampler: SamplerCounts,
    /// What became of containers that came near their limits.
    pub warnings: WarningCounts,
    /// What was asked of runtimes before there was a kill.
    pub names: NameCounts,
    /// Incidents of other nodes on the same kernel.
    pub elsewhere: Counter,
    /// OOMs that killed nobody.
    pub no_victim: NoVictimCounts,
    /// What was asked of the API server for Events.
    pub events: EventCounts,
    verdicts: Verdicts,
    /// What became of what is owed over restarts.
    pub journal: JournalCounts,
    latency: Histogram,
    kills: Arc<Kills>,
    usages: Arc<Usages>,
    forecasts: Arc<Forecasts>,
    sinks: Sinks,
    losses: [Counter; LOSSES.len()],
    /// Incidents of before the programs were attached.
    waited: Counter,
    /// By how much the others have raised the kernel's own count.
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
            "Victims, by how far they were seen",
        );
        let losses = family(
            &mut registry,
            "lost",
            "Records and log lines that were lost, by where",
        );
        let watch_updates = Family::default();
        registry.register(
            "watch_updates",
            "Containers' statuses that watch-pods has seen, and the kills in them, by what came of them",
            Family::clone(&watch_updates),
        );
        let (kernel_kills, drift) = by_kernel(&mut registry);
        let latency = Histogram::new(BUCKETS);
        registry.register_with_unit(
            "incident_latency",
            "From the kernel's stamp until the incident was told",
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
                "Incidents that were not told: another node on the same kernel had them",
            ),
            verdicts: Verdicts::new(&mut registry),
            sampler: SamplerCounts::new(&mut registry),
            warnings: WarningCounts::new(&mut registry),
            no_victim: NoVictimCounts::new(&mut registry),
            kills: Kills::new(&mut registry),
            usages: Usages::new(&mut registry),
            forecasts: Forecasts::new(&mut registry),
            incidents: counter(&mut registry, "incidents", "OOM incidents told"),
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
                "Victims whose cgroup could not be told",
            ),
            degraded_incidents: counter(
                &mut registry,
                "degraded_incidents",
                "Incidents in which something could not be found out",
            ),
            degraded: Degraded::new(&mut registry),
            untold: counter(
                &mut registry,
                "incidents_untold",
                "Incidents lost inside the agent",
            ),
            lines_unwritten: counter(
                &mut registry,
                "lines_unwritten",
                "Incidents that standard output did not take",
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

/// How the kernel's own count agrees.
fn by_kernel(registry: &mut Registry) -> (Optional<Counter>, Optional<Gauge>) {
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
    pub fn attached(&self, now_ns: u64) {
        self.attached_ns.store(now_ns, Ordering::Relaxed);
    }

    /// A kill, or a group of them, was found.
    pub fn found(&self, found: &Kill) {
        if found.stamp_ns < self.attached_ns.load(Ordering::Relaxed) {
            self.waited.inc();
        } else {
            let counted = found.counted_by_kernel();
            self.counted_kills.fetch_add(counted, Ordering::Relaxed);
        }
        self.groups.inc_by(u64::from(found.is_group()));
        self.without_mark.inc_by(u64::from(found.trigger.is_none()));
        let [autopsied, outside, unseen, counted, exiting] = &self.fates;
        let more = found.unlisted;
        autopsied.inc_by(more.autopsied);
        outside.inc_by(more.outside);
        unseen.inc_by(more.unseen);
        counted.inc_by(more.counted);
        exiting.inc_by(more.exiting);
        for killed in &found.victims {
            let counter = match killed.reading {
                _ if killed.exiting => exiting,
                Reading::Autopsied => autopsied,
                Reading::Outside => outside,
                Reading::Unseen => unseen,
                Reading::Counted => counted,
            };
            counter.inc();
        }
    }

    /// An incident was told at `now_ns` (`CLOCK_MONOTONIC`).
    pub fn told(&self, incident: &Incident, now_ns: u64) {
        self.incidents.inc();
        self.degraded_incidents
            .inc_by(u64::from(!incident.degraded.is_empty()));
        self.degraded.count(&incident.degraded);
        for victim in &incident.victims {
            self.without_cgroup
                .inc_by(u64::from(victim.cgroup.is_none()));
            let who = Who::of_victim(victim);
            self.kills
                .kill(who, incident.scope, incident.outcome, now_ns);
        }
        self.latency
            .observe(seconds(now_ns.saturating_sub(incident.stamp_ns)));
    }

    /// An incident was found and never told.
    pub fn untold(&self) {
        self.untold.inc();
    }

    /// A container's status was compared with the kernel's kills.
    pub fn judged(&self, judgement: &Judgement) {
        self.verdicts.count(judgement, 1);
    }

    /// Containers that will not be compared.
    pub fn unjudged(&self, why: Why, containers: u64) {
        self.verdicts.count(&Judgement::Undecided(why), containers);
    }

    /// The containers that run on this node at `now_ns`, all of them: each is at zero from now on.
    pub fn running(&self, containers: Vec<Who>, now_ns: u64) {
        self.kills.running(containers, now_ns);
    }

    /// How much memory containers use, all that are known of.
    pub fn usages(&self, usages: impl IntoIterator<Item = (Who, Usage)>) {
        self.usages.set(usages);
    }

    /// When containers come to their limits; the others do not grow. `unrecorded` is how many looks
    /// at memory found no room so far.
    pub fn forecasts(&self, forecasts: Vec<(Who, Duration)>, unrecorded: u64) {
        self.forecasts.set(forecasts, unrecorded);
    }

    /// What `watch-pods` counts as that type.
    pub fn watch_update(&self, update_type: &'static str) -> Counter {
        self.watch_updates
            .get_or_create_owned(&[("update_type", update_type)])
    }

    /// The counters of a sink of that name.
    pub fn sink(&self, name: &str) -> SinkCounts {
        self.sinks.of(name)
    }

    /// Brings what others count.
    pub fn read(&self, readings: Readings) {
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
    pub fn encode(&self, now_ns: u64) -> Result<String, fmt::Error> {
        self.kills.expire(now_ns);
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// For people.
    pub fn totals(&self) -> Totals {
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
            untold: self.untold.get(),
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

    /// The counters of every sink, by its name.
    pub fn sinks(&self) -> Vec<(String, SinkCounts)> {
        self.sinks.all()
    }
}

/// What counts elsewhere only grows; two readings may come in either order.
fn raise(counter: &Counter, to: u64) {
    counter.inner().fetch_max(to, Ordering::Relaxed);
}

fn seconds(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}

/// What a panicked thread left is still a count.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
