//! Samples of the agent while it goes on.

use std::collections::BTreeMap;

use anyhow::Result;
use lab::{Admin, Scrape};

/// Events that an object may have at once, and one more every 300 s (docs/events.md).
pub(super) const BUCKET: u64 = 25;
/// A sink's queue and backlog, and what is in flight.
pub(super) const ROOM: u64 = 256 + 256 + 16;
/// The agent never needs more, whatever comes.
pub(super) const MEMORY_MIB: u64 = 64;

/// One scrape of the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(super) drift: Option<i64>,
    /// Records, lines and incidents that were lost.
    pub(super) lost: u64,
    pub(super) sinks: Vec<Sink>,
}

/// What a sink was given, and what it did with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sink {
    pub(super) name: String,
    pub(super) offered: u64,
    /// What it is done with, by the result.
    pub(super) results: BTreeMap<String, u64>,
}

/// The most in all samples.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pub(super) samples: u64,
    /// That waited in one sink.
    pub(super) pending: u64,
    /// Kills that the agent was behind the kernel's count.
    pub(super) drift: i64,
}

/// A kind of request to the API server, and how many there were: verb, resource, code.
pub(super) type Requests = Vec<([String; 3], u64)>;

// === impl Sample ===

impl Sample {
    pub(crate) fn scrape(admin: Admin) -> Result<Self> {
        Ok(Self::read(&admin.scrape()?))
    }

    fn read(scrape: &Scrape) -> Self {
        let lost = scrape.by("oom_agent_lost_total", ["reason"]);
        // A line of the log is no incident.
        let records = lost.iter().filter(|([reason], _)| reason != "log");
        let records: u64 = records.map(|(_, count)| count).sum();
        let count = |name| scrape.count(name, &[]);
        let done = scrape.by("oom_agent_sink_done_total", ["sink", "result"]);
        let sink = |([name], offered): ([String; 1], u64)| {
            let ours = done.iter().filter(|([sink, _], _)| *sink == name);
            let results = ours.map(|([_, result], count)| (result.clone(), *count));
            Sink {
                offered,
                results: results.collect(),
                name,
            }
        };
        let sinks = scrape.by("oom_agent_sink_offered_total", ["sink"]);
        Self {
            drift: scrape.sum("oom_agent_drift", &[]).map(whole),
            lost: records
                .saturating_add(count("oom_agent_incidents_untold_total"))
                .saturating_add(count("oom_agent_lines_unwritten_total")),
            sinks: sinks.into_iter().map(sink).collect(),
        }
    }

    /// Given to a bonker, but for those that found no room in the queue.
    pub(super) fn sent(&self) -> u64 {
        let bonkers = self
            .sinks
            .iter()
            .filter(|sink| sink.name.starts_with("bonker "));
        bonkers
            .map(|sink| sink.offered.saturating_sub(sink.count("overflowed")))
            .sum()
    }

    /// Not done yet, by any sink.
    pub(crate) fn pending(&self) -> u64 {
        self.sinks.iter().map(Sink::pending).sum()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it is whole and small")]
fn whole(value: f64) -> i64 {
    value as i64
}

// === impl Sink ===

impl Sink {
    pub(super) fn count(&self, result: &str) -> u64 {
        self.results.get(result).copied().unwrap_or_default()
    }

    pub(super) fn done(&self) -> u64 {
        self.results.values().sum()
    }

    fn pending(&self) -> u64 {
        self.offered.saturating_sub(self.done())
    }
}

// === impl Watch ===

impl Watch {
    pub(super) fn add(&mut self, sample: &Sample) {
        self.samples = self.samples.saturating_add(1);
        let pending = sample.sinks.iter().map(Sink::pending).max();
        self.pending = self.pending.max(pending.unwrap_or_default());
        self.drift = self.drift.max(sample.drift.unwrap_or_default());
    }
}

/// Requests to the API server for Events and pods between two scrapes of it.
pub(super) fn requests(before: &Scrape, after: &Scrape) -> Requests {
    let counts =
        |scrape: &Scrape| scrape.by("apiserver_request_total", ["verb", "resource", "code"]);
    let known = counts(before);
    let since = |(key, count): ([String; 3], u64)| {
        let before = known.iter().find(|(other, _)| *other == key);
        let before = before.map_or(0, |(_, count)| *count);
        (key, count.saturating_sub(before))
    };
    let all = counts(after).into_iter().map(since);
    all.filter(|([_, resource, _], count)| {
        *count > 0 && matches!(resource.as_str(), "events" | "pods")
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_adds_up() {
        let text = "oom_agent_drift 2\noom_agent_lost_total{reason=\"log\"} 9\n\
            oom_agent_lost_total{reason=\"ring-full\"} 1\noom_agent_lines_unwritten_total 2\n\
            oom_agent_sink_offered_total{sink=\"kubernetes\"} 10\n\
            oom_agent_sink_done_total{sink=\"kubernetes\",result=\"delivered\"} 3\n\
            oom_agent_sink_done_total{sink=\"kubernetes\",result=\"held-back\"} 4\n";
        let sample = Sample::read(&Scrape::parse(text));
        assert_eq!(
            (sample.drift, sample.lost, sample.pending()),
            (Some(2), 3, 3)
        );
        assert_eq!(sample.sent(), 0, "an Event is no bonk");
        let mut watch = Watch::default();
        watch.add(&sample);
        watch.add(&Sample::default());
        assert_eq!((watch.samples, watch.pending, watch.drift), (2, 3, 2));
    }

    #[test]
    fn requests_are_counted_from_one_scrape_to_the_next() {
        let text = |posts: u32| {
            let line = "apiserver_request_total{code=\"201\",resource=\"events\",verb=\"POST\"}";
            Scrape::parse(&format!(
                "{line} {posts}\napiserver_request_total{{code=\"200\",resource=\"leases\",verb=\"PUT\"}} 5\n"
            ))
        };
        let found = requests(&text(3), &text(28));
        assert_eq!(found, [(["POST", "events", "201"].map(str::to_owned), 25)]);
    }
}
