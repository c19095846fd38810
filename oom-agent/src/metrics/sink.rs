use std::collections::BTreeMap;

use parking_lot::Mutex;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use service::escape;

use super::{BUCKETS, Counter, register, register_labelled, seconds};

/// The longest name of a sink, in bytes: a URL from the command line.
const NAME_LEN: usize = 256;

/// How a sink handled its incidents.
#[derive(Clone, Debug)]
pub(crate) struct SinkCounts {
    /// Offered to the sink; an incident with several Events counts as several.
    pub(crate) offered: Counter,
    /// Accepted by the receiver.
    pub(crate) delivered: Counter,
    /// Dropped, as the queue was full.
    pub(crate) overflowed: Counter,
    /// Refused, or given up after all retries.
    pub(crate) failed: Counter,
    /// Not sent, as there is no API server, or no object to write an Event on.
    pub(crate) skipped: Counter,
    /// Only counted on another report, as there were too many of the same kind.
    pub(crate) held_back: Counter,
    latency: Histogram,
}

/// The recorder's requests, beside its [`SinkCounts`].
#[derive(Clone, Debug, Default)]
pub(crate) struct EventCounts {
    /// Events written.
    pub(crate) created: Counter,
    /// Series updated.
    pub(crate) patched: Counter,
    /// Attempts that failed and are retried.
    pub(crate) retried: Counter,
}

/// Incidents kept over a restart.
#[derive(Clone, Debug, Default)]
pub(crate) struct JournalCounts {
    /// Offered again, to one sink each.
    pub(crate) again: Counter,
    /// Too old to be offered again, or for a sink that no longer exists.
    pub(crate) stale: Counter,
    /// Not written: the journal or its queue was full.
    pub(crate) lost: Counter,
    /// Writes that failed.
    pub(crate) failed: Counter,
}

pub(crate) struct Sinks {
    offered: Family<Labels, Counter>,
    done: Family<Labels, Counter>,
    latency: Family<Labels, Histogram, fn() -> Histogram>,
    all: Mutex<BTreeMap<String, SinkCounts>>,
}

type Labels = Vec<(&'static str, String)>;

// === impl SinkCounts ===

impl SinkCounts {
    /// Counts an incident of that stamp, delivered at `now_ns` (`CLOCK_MONOTONIC`).
    pub(crate) fn count_delivered(&self, stamp_ns: u64, now_ns: u64) {
        self.delivered.inc();
        self.latency
            .observe(seconds(now_ns.saturating_sub(stamp_ns)));
    }

    /// Incidents that are neither delivered nor dropped yet.
    pub(crate) fn pending(&self) -> u64 {
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
        let [again, stale, lost, failed] = register_labelled(
            registry,
            "journal_entries",
            "Incidents kept over a restart, by result",
            "result",
            ["again", "stale", "lost", "failed"],
        );
        Self {
            again,
            stale,
            lost,
            failed,
        }
    }
}

// === impl EventCounts ===

impl EventCounts {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let [created, patched, retried] = register_labelled(
            registry,
            "event_requests",
            "Requests to the API server for Events, by result",
            "result",
            ["created", "patched", "retried"],
        );
        Self {
            created,
            patched,
            retried,
        }
    }
}

// === impl Sinks ===

impl Sinks {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let latency = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> _);
        registry.register_with_unit(
            "sink_latency",
            "From the kernel's stamp until the receiver had accepted the incident",
            Unit::Seconds,
            Family::clone(&latency),
        );
        Self {
            offered: register(registry, "sink_offered", "Incidents given to a sink"),
            done: register(
                registry,
                "sink_done",
                "Incidents that a sink is done with, by result",
            ),
            latency,
            all: Mutex::default(),
        }
    }

    pub(super) fn register(&self, name: &str) -> SinkCounts {
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
        self.all.lock().insert(name.to_owned(), counts.clone());
        counts
    }

    /// By name.
    pub(crate) fn all(&self) -> Vec<(String, SinkCounts)> {
        let all = self.all.lock();
        all.iter()
            .map(|(name, counts)| (name.clone(), counts.clone()))
            .collect()
    }
}
