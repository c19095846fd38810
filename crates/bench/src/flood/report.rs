//! What came of it, for the terminal and for docs/flood.md. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::watch::{BUCKET, MEMORY_MIB, ROOM, Requests, Sample, Watch};
use crate::checks::Checks;
use crate::compare::{Comparison, Event, doubled_events};
use crate::figures::{mib, seconds_in_tenths, tenths};
use crate::footprint::Memory;
use crate::table::Table;

/// All of one run.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) flood: Series,
    /// Without an agent.
    pub(super) bare: Vec<Series>,
    /// The time that is wanted.
    pub(super) within: Duration,
    /// Of all CPUs, meanwhile.
    pub(super) busy_percent: u64,
    /// OOM kills of others, meanwhile.
    pub(super) others: u64,
    pub(super) before: Memory,
    pub(super) after: Memory,
    pub(super) watch: Watch,
    /// The bonker's answers to bonks, by their outcome.
    pub(super) answers: BTreeMap<String, u64>,
    pub(super) requests: Requests,
    pub(super) costs: Vec<Cost>,
    pub(super) comparison: Comparison,
    /// In the API, at the end.
    pub(super) events: Vec<Event>,
    /// Kills in pods; and of these, how many Events count.
    pub(super) in_pods: u64,
    pub(super) counted: u64,
    pub(super) last: Sample,
}

/// Kills as fast as can be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Series {
    /// With a line of each on the console.
    pub(super) console: bool,
    pub(super) kills: u32,
    pub(super) took: Duration,
}

/// CPU time of a process, while it went on.
#[derive(Debug)]
pub(super) struct Cost {
    pub(super) name: &'static str,
    pub(super) cpu_ns: u64,
}

// === impl Report ===

impl Report {
    /// Every promise.
    pub(super) fn checks(&self) -> Checks {
        let last = &self.last;
        let mut checks = Checks::default();
        let what = "kills reported on standard output, each once";
        checks.add_equal(what, self.comparison.once, self.flood.kills.into());
        let wrong = self.comparison.doubled.len() + self.comparison.invented.len();
        checks.add_equal("reported twice or of no kill", wrong as u64, 0);
        let what = "records lost, lines not written, incidents not reported";
        checks.add_equal(what, last.lost, 0);
        checks.add(
            "drift from the kernel's own count",
            last.drift
                .map_or("unknown".to_owned(), |drift| drift.to_string()),
            last.drift == Some(0),
        );
        for sink in &last.sinks {
            let what = if sink.name == "kubernetes" {
                "Events accounted for (delivered, held back, overflowed, failed, skipped)"
            } else {
                "bonks accounted for"
            };
            checks.add_equal(what, sink.done(), sink.offered);
        }
        let refills = self.flood.took.as_secs() / 300;
        let bucket = BUCKET.saturating_add(refills).saturating_add(1);
        let mut check_bucket = |what, kind| {
            let found = self.most_events_on(kind);
            checks.add(what, found.to_string(), (1..=bucket).contains(&found));
        };
        check_bucket(
            "most Events on one pod (at most 25, and one more each 300 s)",
            "Pod/",
        );
        check_bucket("Events on the Node (the same)", "Node/");
        let what = "kills in pods that their Events count, series included";
        checks.add_equal(what, self.counted, self.in_pods);
        let doubled = doubled_events(&self.events).len() as u64;
        checks.add_equal("incidents with two Events on one object", doubled, 0);
        let answers: u64 = self.answers.values().sum();
        checks.add(
            "bonks that the bonker answered, some more than once, of those that found room in the queue",
            format!("{answers} of {}", last.sent()),
            answers >= last.sent(),
        );
        let what = "most that waited in one sink (at most its queue, backlog and flight)";
        checks.add_at_most(what, self.watch.pending, ROOM);
        let what = "peak of the agent's resident memory, in MiB";
        checks.add_at_most(what, self.after.peak >> 10, MEMORY_MIB);
        checks
    }

    fn most_events_on(&self, kind: &str) -> u64 {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        let events = self.events.iter();
        for event in events.filter(|event| event.object.starts_with(kind)) {
            *counts.entry(&event.object).or_default() += 1;
        }
        counts.into_values().max().unwrap_or_default()
    }
}

/// The figures.
pub(super) fn tables(report: &Report) -> String {
    let mut text = String::new();
    let Series { kills, took, .. } = report.flood;
    let _infallible = writeln!(
        text,
        "**{kills} kills in {} s: {} a second, {} a minute.**",
        seconds_in_tenths(took),
        tenths(rate(kills, took)),
        rate(kills, took).saturating_mul(6),
    );
    if took > report.within {
        let _infallible = writeln!(
            text,
            "\n{} s were wanted. What limits is the machine, see below: all CPUs were {} % busy.",
            report.within.as_secs(),
            report.busy_percent
        );
    }
    if report.others > 0 {
        let _infallible = writeln!(text, "\nOOM kills of others meanwhile: {}.", report.others);
    }
    let _infallible = writeln!(text, "\n## What has to hold\n\n{}", report.checks().list());
    text.push_str(&limits(report));
    text.push_str(&sinks(report));
    text.push_str(&load(report));
    text
}

fn limits(report: &Report) -> String {
    let bare = report.bare.iter().map(|series| ("no agent", *series));
    let flood = ("the agent, and all its sinks", report.flood);
    let rows: Vec<_> = bare.chain([flood]).collect();
    let table = Table::new(&rows)
        .column("", |(agent, _)| agent)
        .column("kills on the console", |(_, series)| {
            if series.console { "yes" } else { "no" }
        })
        .column("kills", |(_, series)| series.kills)
        .column("s", |(_, series)| seconds_in_tenths(series.took))
        .column("a second", |(_, series)| {
            tenths(rate(series.kills, series.took))
        });
    format!("## How fast this machine kills\n\n{table}\n")
}

fn sinks(report: &Report) -> String {
    // Its port is another one each time.
    let mut table = Table::new(&report.last.sinks)
        .column("sink", |sink| {
            sink.name.split(' ').next().unwrap_or_default()
        })
        .column("offered", |sink| sink.offered);
    for result in ["delivered", "held-back", "overflowed", "failed", "skipped"] {
        table = table.column(&result.replace('-', " "), |sink| sink.count(result));
    }
    let answers = |outcome: &str| report.answers.get(outcome).copied().unwrap_or_default();
    format!(
        "## What the sinks did\n\n{table}\n\
         The bonker answered {}: {} accepted, {} coalesced, {} rate-limited, {} full, {} duplicates, {} rejected. \
         Its arm takes its time for a swing, and its queue is short: what finds no room is answered so, \
         and sent again for five minutes. The API has {} Events at the end.\n\n\
         Of {} scrapes meanwhile: at most {} waited in one sink, at most {} kills were counted by the kernel and not found yet.\n\n",
        report.answers.values().sum::<u64>(),
        answers("accepted"),
        answers("coalesced"),
        answers("rate_limited"),
        answers("full"),
        answers("duplicate"),
        ["rejected", "expired", "quiet"]
            .map(answers)
            .iter()
            .sum::<u64>(),
        report.events.len(),
        report.watch.samples,
        report.watch.pending,
        report.watch.drift
    )
}

fn load(report: &Report) -> String {
    let requests = Table::new(&report.requests)
        .column("request", |([verb, resource, _], _)| {
            format!("{verb} {resource}")
        })
        .column("code", |([_, _, code], _)| code)
        .column("count", |(_, count)| count);
    let kills = u64::from(report.flood.kills.max(1));
    let costs = Table::new(&report.costs)
        .column("process", |cost| cost.name)
        .column("CPU ms", |cost| cost.cpu_ns / 1_000_000)
        .column("µs a kill", |cost| cost.cpu_ns / 1000 / kills);
    format!(
        "## Load\n\nRequests to the API server for Events and pods, by its own count (this harness's, which lists, among them):\n\n\
         {requests}\nCPU time, from before the first kill until everything was answered:\n\n{costs}\n\
         Resident memory of the agent: {} MiB before, {} MiB at its peak, {} MiB after.\n",
        mib(report.before.rss),
        mib(report.after.peak),
        mib(report.after.rss)
    )
}

/// Tenths of kills in a second.
fn rate(kills: u32, took: Duration) -> u64 {
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let tenths = u64::from(kills).saturating_mul(10_000);
    tenths.checked_div(ms).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flood::watch::Sink;

    fn report() -> Report {
        let series = |kills, ms| Series {
            console: true,
            kills,
            took: Duration::from_millis(ms),
        };
        let memory = |rss, peak| Memory {
            rss,
            peak,
            ..Memory::default()
        };
        let event = |object: String, incident: u32| Event {
            object,
            incident: incident.to_string(),
            count: 1,
        };
        Report {
            flood: series(200, 1500),
            bare: vec![series(100, 500)],
            within: Duration::from_secs(1),
            busy_percent: 99,
            others: 0,
            before: memory(8192, 8192),
            after: memory(9216, 10_240),
            watch: Watch::default(),
            answers: BTreeMap::from([("accepted".to_owned(), 3), ("full".to_owned(), 197)]),
            requests: vec![(["POST", "events", "201"].map(str::to_owned), 25)],
            costs: vec![Cost {
                name: "oom-agent",
                cpu_ns: 20_000_000,
            }],
            comparison: Comparison {
                once: 199,
                ..Comparison::default()
            },
            events: (0..26)
                .map(|n| event(if n == 0 { "Node/a" } else { "Pod/b" }.to_owned(), n))
                .collect(),
            in_pods: 25,
            counted: 25,
            last: Sample {
                drift: Some(0),
                lost: 0,
                sinks: vec![Sink {
                    name: "bonker http://127.0.0.1:4".to_owned(),
                    offered: 200,
                    results: BTreeMap::from([
                        ("delivered".to_owned(), 3),
                        ("failed".to_owned(), 197),
                    ]),
                }],
            },
        }
    }

    #[test]
    fn the_page_shows_what_was_reached_and_what_is_broken() {
        let report = report();
        assert_eq!(report.checks().broken().len(), 1);
        let page = tables(&report);
        for part in [
            "**200 kills in 1.5 s: 133.3 a second, 7998 a minute.**",
            "1 s were wanted.",
            "- kills reported on standard output, each once: 199 of 200 **(broken)**",
            "| no agent                     |                  yes |   100 | 0.5 |    200.0 |",
            "| bonker |     200 |         3 |         0 |          0 |    197 |       0 |",
            "| POST events |  201 |    25 |",
            "| oom-agent |     20 |       100 |",
            "answered 200: 3 accepted, 0 coalesced, 0 rate-limited, 197 full, 0 duplicates, 0 rejected.",
            "8.0 MiB before, 10.0 MiB at its peak, 9.0 MiB after",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
    }

    #[test]
    fn nothing_is_divided_by_no_time() {
        assert_eq!(rate(5, Duration::ZERO), 0);
        assert_eq!(rate(10_000, Duration::from_mins(1)), 1666);
    }
}
