use std::collections::BTreeMap;
use std::sync::Mutex;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use service::escape;

use super::{BUCKETS, lock, seconds};

/// The longest name of a sink, in bytes: a URL from the command line.
const NAME_LEN: usize = 256;

/// What a sink did with its incidents.
#[derive(Clone, Debug)]
pub struct SinkCounts {
    /// Given to the sink, whatever came of it; an incident that makes several Events counts as several.
    pub offered: Counter,
    /// Taken by the other side.
    pub delivered: Counter,
    /// The queue was full.
    pub overflowed: Counter,
    /// Refused, or given up after all retries.
    pub failed: Counter,
    /// Nothing to say there: there is no API server, or no object to write an Event on.
    pub skipped: Counter,
    /// Too many of the same kind: told as a number by another.
    pub held_back: Counter,
    latency: Histogram,
}

/// What the recorder of Events did, beside its [`SinkCounts`].
#[derive(Clone, Debug, Default)]
pub struct EventCounts {
    /// Events written.
    pub created: Counter,
    /// Series brought up to date.
    pub patched: Counter,
    /// Attempts that failed and are made again.
    pub retried: Counter,
}

/// What became of what is owed over restarts.
#[derive(Clone, Debug, Default)]
pub struct JournalCounts {
    /// Offered again, to one sink each.
    pub again: Counter,
    /// Too old to be offered again, or for a sink that is not there any more.
    pub stale: Counter,
    /// Not written, as too much was owed or waited for the disk.
    pub lost: Counter,
    /// Writes that the disk did not take.
    pub failed: Counter,
}

/// Every sink's.
pub(super) struct Sinks {
    offered: Family<Labels, Counter>,
    done: Family<Labels, Counter>,
    latency: Family<Labels, Histogram, fn() -> Histogram>,
    all: Mutex<BTreeMap<String, SinkCounts>>,
}

type Labels = Vec<(&'static str, String)>;

// === impl SinkCounts ===

impl SinkCounts {
    /// The other side has taken an incident of that stamp at `now_ns` (`CLOCK_MONOTONIC`).
    pub fn delivered(&self, stamp_ns: u64, now_ns: u64) {
        self.delivered.inc();
        self.latency
            .observe(seconds(now_ns.saturating_sub(stamp_ns)));
    }

    /// Incidents that are neither delivered nor dropped yet.
    pub fn pending(&self) -> u64 {
        self.offered
            .get()
            .saturating_sub(self.delivered.get())
            .saturating_sub(self.overflowed.get())
            .saturating_sub(self.failed.get())
            .saturating_sub(self.skipped.get())
            .saturating_sub(self.held_back.get())
    }
}

// === impl JournalCounts ===

impl JournalCounts {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let entries: Family<[(&str, &str); 1], Counter> = Family::default();
        registry.register(
            "journal_entries",
            "Incidents owed over a restart, by what became of them",
            entries.clone(),
        );
        let count = |result| entries.get_or_create_owned(&[("result", result)]);
        Self {
            again: count("again"),
            stale: count("stale"),
            lost: count("lost"),
            failed: count("failed"),
        }
    }
}

// === impl EventCounts ===

impl EventCounts {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let requests: Family<[(&str, &str); 1], Counter> = Family::default();
        registry.register(
            "event_requests",
            "What the API server was asked for Events, by what came of it",
            requests.clone(),
        );
        let count = |result| requests.get_or_create_owned(&[("result", result)]);
        Self {
            created: count("created"),
            patched: count("patched"),
            retried: count("retried"),
        }
    }
}

// === impl Sinks ===

impl Sinks {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let sinks = Self {
            offered: Family::default(),
            done: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            all: Mutex::default(),
        };
        registry.register(
            "sink_offered",
            "Incidents given to a sink",
            sinks.offered.clone(),
        );
        registry.register(
            "sink_done",
            "Incidents that a sink is done with, by what came of them",
            sinks.done.clone(),
        );
        registry.register_with_unit(
            "sink_latency",
            "From the kernel's stamp until the other side had taken the incident",
            Unit::Seconds,
            sinks.latency.clone(),
        );
        sinks
    }

    pub(super) fn of(&self, name: &str) -> SinkCounts {
        let name = escape::truncate(name, NAME_LEN);
        let labels = vec![("sink", name.to_owned())];
        let done = |result: &str| {
            let result = ("result", result.to_owned());
            let labels = labels.iter().cloned().chain([result]).collect();
            self.done.get_or_create_owned(&labels)
        };
        let counts = SinkCounts {
            offered: self.offered.get_or_create_owned(&labels),
            delivered: done("delivered"),
            overflowed: done("overflowed"),
            failed: done("failed"),
            skipped: done("skipped"),
            held_back: done("held-back"),
            latency: self.latency.get_or_create_owned(&labels),
        };
        lock(&self.all).insert(name.to_owned(), counts.clone());
        counts
    }

    pub(super) fn all(&self) -> Vec<(String, SinkCounts)> {
        let all = lock(&self.all);
        all.iter()
            .map(|(name, counts)| (name.clone(), counts.clone()))
            .collect()
    }
}
