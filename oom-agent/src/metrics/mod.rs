//! The agent's metrics for Prometheus: `docs/metrics.md` is the contract. Any thread may count without
//! waiting. [`Readings`] bring what is counted elsewhere.

mod collector;
mod degraded;
mod kills;
mod labelled;
mod names;
mod readings;
mod sampler;
mod sink;
mod warnings;
mod watched;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{self, Registry, Unit};
use strum::VariantArray as _;

pub(crate) use kills::Who;
pub(crate) use labelled::Labelled;
pub(crate) use names::NameCounts;
pub(crate) use prometheus_client::metrics::counter::Counter;
pub(crate) use readings::Readings;
pub(crate) use sink::{EventCounts, JournalCounts, SinkCounts};
pub(crate) use warnings::WarningCounts;

use crate::incident::Incident;
use crate::no_victim::Cause;
use crate::status_check::{Judgement, UndecidedReason};
use degraded::Degraded;
use kills::Kills;
use oom_capture::{Kill, Reading};
use pressure::Counts;
use readings::External;
use sink::Sinks;
use watched::Watched;

/// That of [`Metrics::encode`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// In seconds, from the time for one line to that for a restart of an API server.
const BUCKETS: [f64; 16] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
    60.0, 300.0,
];

type Gauge = prometheus_client::metrics::gauge::Gauge<u64, AtomicU64>;

pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) incidents: Counter,
    pub(crate) groups: Counter,
    pub(crate) fates: Fates,
    pub(crate) without_mark: Counter,
    pub(crate) without_cgroup: Counter,
    pub(crate) degraded_incidents: Counter,
    degraded: Degraded,
    /// Incidents that were never reported.
    pub(crate) incidents_lost: Counter,
    /// Incidents that could not be written to standard output.
    pub(crate) lines_unwritten: Counter,
    /// Connections of the admin port that were closed for newer ones.
    pub(crate) connections_evicted: Counter,
    pub(crate) sampler: Arc<Counts>,
    pub(crate) warnings: WarningCounts,
    pub(crate) names: NameCounts,
    /// Incidents of other nodes on the same kernel.
    pub(crate) elsewhere: Counter,
    pub(crate) no_victim: Labelled<Cause>,
    pub(crate) events: EventCounts,
    verdicts: Labelled<&'static str>,
    undecided: Labelled<UndecidedReason>,
    pub(crate) journal: JournalCounts,
    latency: Histogram,
    pub(crate) kills: Arc<Kills>,
    pub(crate) watched: Arc<Watched>,
    pub(crate) sinks: Sinks,
    /// Incidents from before the programs were attached.
    pub(crate) waited: Counter,
    pub(crate) external: Arc<External>,
    watch_updates: Family<[(&'static str, &'static str); 1], Counter>,
}

/// Victims, by how much of them was read.
pub(crate) struct Fates {
    pub(crate) autopsied: Counter,
    pub(crate) outside: Counter,
    pub(crate) unseen: Counter,
    pub(crate) counted: Counter,
    pub(crate) exiting: Counter,
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        let mut all = Registry::with_prefix("oom_agent");
        let registry = &mut all;
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program", build);
        let latency = Histogram::new(BUCKETS);
        registry.register_with_unit(
            "incident_latency",
            "From the kernel's stamp until the incident was reported",
            Unit::Seconds,
            latency.clone(),
        );
        Self {
            events: EventCounts::new(registry),
            journal: JournalCounts::new(registry),
            names: NameCounts::new(registry),
            elsewhere: register(
                registry,
                "other_node_incidents",
                "Incidents that were not reported: they belong to another node on the same kernel",
            ),
            verdicts: Labelled::new(
                registry,
                "verdicts",
                "Containers whose status was compared with the kernel's kills",
                "verdict",
                ["agrees", "missed", "phantom", "undecided"].map(|name| (name, name)),
            ),
            undecided: Labelled::new(
                registry,
                "undecided_verdicts",
                "Containers without a verdict, by reason",
                "reason",
                UndecidedReason::VARIANTS.iter().map(|it| (*it, it.into())),
            ),
            sampler: sampler::register(registry),
            warnings: WarningCounts::new(registry),
            no_victim: Labelled::new(
                registry,
                "ooms_without_victim",
                "Episodes of cgroups that were out of memory while nobody was killed",
                "cause",
                Cause::ALL.map(|cause| (cause, cause.as_str())),
            ),
            kills: Kills::new(registry),
            watched: Watched::new(registry),
            incidents: register(registry, "incidents", "OOM incidents reported"),
            groups: register(
                registry,
                "group_kills",
                "Incidents in which a cgroup died as one",
            ),
            fates: Fates::new(registry),
            without_mark: register(
                registry,
                "incidents_without_mark",
                "Incidents whose trigger is not known: its record was lost",
            ),
            without_cgroup: register(
                registry,
                "victims_without_cgroup",
                "Victims whose cgroup is not known",
            ),
            degraded_incidents: register(
                registry,
                "degraded_incidents",
                "Incidents in which something could not be found out",
            ),
            degraded: Degraded::new(registry),
            incidents_lost: register(
                registry,
                "incidents_untold",
                "Incidents lost inside the agent",
            ),
            lines_unwritten: register(
                registry,
                "lines_unwritten",
                "Incidents that could not be written to standard output",
            ),
            connections_evicted: register(
                registry,
                "admin_connections_evicted",
                "Connections closed because newer ones took their place",
            ),
            waited: register(
                registry,
                "incidents_waited",
                "Incidents of kills that waited for the agent to be started again",
            ),
            latency,
            sinks: Sinks::new(registry),
            external: External::new(registry),
            watch_updates: register(
                registry,
                "watch_updates",
                "Containers' statuses that watch-pods has read, and the kills in them, by how they were handled",
            ),
            registry: all,
        }
    }
}

fn register<M>(registry: &mut Registry, name: &str, help: &str) -> M
where
    M: registry::Metric + Clone + Default,
{
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// One counter for each value of the label.
fn register_labelled<const N: usize>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    label: &'static str,
    values: [&'static str; N],
) -> [Counter; N] {
    let family: Family<[(&str, &str); 1], Counter> = register(registry, name, help);
    values.map(|value| family.get_or_create_owned(&[(label, value)]))
}

impl Metrics {
    /// Counts a kill or a group kill. One that `has_waited` is from before the programs were attached.
    pub(crate) fn count_kill(&self, kill: &Kill, has_waited: bool) {
        if has_waited {
            self.waited.inc();
        } else {
            self.external.count_kills(kill.counted_by_kernel());
        }
        self.groups.inc_by(u64::from(kill.is_group()));
        self.without_mark.inc_by(u64::from(kill.trigger.is_none()));
        let (fates, more) = (&self.fates, kill.unlisted);
        fates.autopsied.inc_by(more.autopsied);
        fates.outside.inc_by(more.outside);
        fates.unseen.inc_by(more.unseen);
        fates.counted.inc_by(more.counted);
        fates.exiting.inc_by(more.exiting);
        for victim in &kill.victims {
            let counter = match victim.reading {
                _ if victim.exiting => &fates.exiting,
                Reading::Autopsied => &fates.autopsied,
                Reading::Outside => &fates.outside,
                Reading::Unseen => &fates.unseen,
                Reading::Counted => &fates.counted,
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

    pub(crate) fn count_judgement(&self, judgement: &Judgement) {
        match judgement {
            Judgement::Agrees => self.verdicts.add("agrees", 1),
            Judgement::Differs(mismatch) => self.verdicts.add(mismatch.verdict.into(), 1),
            Judgement::Undecided(reason) => self.count_undecided(*reason, 1),
        }
    }

    /// Counts containers that are not compared.
    pub(crate) fn count_undecided(&self, reason: UndecidedReason, containers: u64) {
        self.verdicts.add("undecided", containers);
        self.undecided.add(reason, containers);
    }

    pub(crate) fn watch_update(&self, update_type: &'static str) -> Counter {
        self.watch_updates
            .get_or_create_owned(&[("update_type", update_type)])
    }

    pub(crate) fn sink(&self, name: &str) -> SinkCounts {
        self.sinks.register(name)
    }

    /// The text for Prometheus, at `now_ns` (`CLOCK_MONOTONIC`).
    pub(crate) fn encode(&self, now_ns: u64) -> Result<String, fmt::Error> {
        self.kills.expire(now_ns);
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

// === impl Fates ===

impl Fates {
    fn new(registry: &mut Registry) -> Self {
        let help = "Victims, by how much of them was read";
        let values = ["autopsied", "outside", "unseen", "counted", "exiting"];
        let [autopsied, outside, unseen, counted, exiting] =
            register_labelled(registry, "victims", help, "fate", values);
        Self {
            autopsied,
            outside,
            unseen,
            counted,
            exiting,
        }
    }

    /// Those that were read, in their own context or by the trigger.
    pub(crate) fn read(&self) -> u64 {
        self.autopsied.get() + self.outside.get()
    }
}

fn seconds(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}
