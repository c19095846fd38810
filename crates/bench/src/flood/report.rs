//! What came of it, for the terminal and for docs/flood.md. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::watch::{Requests, Sample, Watch};
use crate::checks::Checks;
use crate::figures::{mib, seconds_in_tenths, tenths};
use crate::footprint::Resident;
use crate::machine::Machine;
use crate::page::table;

/// All of one run.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) incidents: u32,
    /// The time that is wanted.
    pub(super) within: Duration,
    pub(super) took: Duration,
    /// Of all CPUs, meanwhile.
    pub(super) busy_percent: u64,
    /// OOM kills of others, meanwhile.
    pub(super) others: u64,
    pub(super) bare: Vec<Bare>,
    pub(super) quiet: bool,
    pub(super) before: Resident,
    pub(super) after: Resident,
    pub(super) watch: Watch,
    /// The bonker's answers to bonks, by their outcome.
    pub(super) answers: BTreeMap<String, u64>,
    pub(super) requests: Requests,
    pub(super) costs: Vec<Cost>,
    /// In the API, at the end.
    pub(super) events: u64,
    pub(super) last: Sample,
    pub(super) checks: Checks,
}

/// Kills without an agent.
#[derive(Debug)]
pub(super) struct Bare {
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

const METHOD: &str = include_str!("method.md");

/// docs/flood.md.
pub(super) fn page(report: &Report) -> String {
    format!(
        "# A flood of kills\n\n{}\n{}{METHOD}",
        report.machine.line(),
        tables(report)
    )
}

/// The figures.
pub(super) fn tables(report: &Report) -> String {
    let mut text = String::new();
    let per_minute = rate(report.incidents, report.took).saturating_mul(6);
    let (kills, took) = (report.incidents, seconds_in_tenths(report.took));
    let _infallible = writeln!(
        text,
        "**{kills} kills in {took} s: {} a second, {per_minute} a minute.**",
        tenths(rate(kills, report.took)),
    );
    if report.took > report.within {
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
    let _infallible = writeln!(text, "\n## What has to hold\n\n{}", report.checks.list());
    text.push_str(&limits(report));
    text.push_str(&sinks(report));
    text.push_str(&load(report));
    text
}

fn limits(report: &Report) -> String {
    let row = |agent: &str, console: bool, kills: u32, took: Duration| {
        vec![
            agent.to_owned(),
            if console { "yes" } else { "no" }.to_owned(),
            kills.to_string(),
            seconds_in_tenths(took),
            tenths(rate(kills, took)),
        ]
    };
    let mut rows: Vec<_> = report
        .bare
        .iter()
        .map(|bare| row("no agent", bare.console, bare.kills, bare.took))
        .collect();
    let console = !report.quiet && report.bare.first().is_some_and(|bare| bare.console);
    rows.push(row(
        "the agent, and all its sinks",
        console,
        report.incidents,
        report.took,
    ));
    let head = ["", "kills on the console", "kills", "s", "a second"];
    format!(
        "## How fast this machine kills\n\n{}\n",
        table(&head, &rows)
    )
}

fn sinks(report: &Report) -> String {
    let rows = report.last.sinks.iter().map(|sink| {
        // Its port is another one each time.
        let name = sink.name.split(' ').next().unwrap_or_default().to_owned();
        let counts = [
            sink.offered,
            sink.delivered,
            sink.held_back,
            sink.overflowed,
            sink.failed,
            sink.skipped,
        ];
        let counts = counts.iter().map(ToString::to_string);
        std::iter::once(name).chain(counts).collect()
    });
    let head = [
        "sink",
        "offered",
        "delivered",
        "held back",
        "overflowed",
        "failed",
        "skipped",
    ];
    let answers = |outcome: &str| report.answers.get(outcome).copied().unwrap_or_default();
    format!(
        "## What the sinks did\n\n{}\n\
         The bonker answered {}: {} accepted, {} coalesced, {} rate-limited, {} full, {} duplicates, {} rejected. \
         Its arm takes its time for a swing, and its queue is short: what finds no room is answered so, \
         and sent again for five minutes. The API has {} Events at the end.\n\n\
         Of {} scrapes meanwhile: at most {} waited in one sink, at most {} kills were counted by the kernel and not found yet.\n\n",
        table(&head, &rows.collect::<Vec<_>>()),
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
        report.events,
        report.watch.samples,
        report.watch.pending,
        report.watch.drift
    )
}

fn load(report: &Report) -> String {
    let rows = report
        .requests
        .iter()
        .map(|([verb, resource, code], count)| {
            vec![
                format!("{verb} {resource}"),
                code.clone(),
                count.to_string(),
            ]
        });
    let requests = table(&["request", "code", "count"], &rows.collect::<Vec<_>>());
    let rows = report.costs.iter().map(|cost| {
        let per_kill = cost.cpu_ns / 1000 / u64::from(report.incidents.max(1));
        vec![
            cost.name.to_owned(),
            (cost.cpu_ns / 1_000_000).to_string(),
            per_kill.to_string(),
        ]
    });
    let costs = table(
        &["process", "CPU ms", "µs a kill"],
        &rows.collect::<Vec<_>>(),
    );
    format!(
        "## Load\n\nRequests to the API server for Events and pods, by its own count (this harness's, which lists, among them):\n\n\
         {requests}\nCPU time, from before the first kill until everything was answered:\n\n{costs}\n\
         Resident memory of the agent: {} MiB before, {} MiB at its peak, {} MiB after.\n\n",
        mib(report.before.now),
        mib(report.after.peak),
        mib(report.after.now)
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
        let mut checks = Checks::default();
        checks.add_equal("reported", 199, 200);
        Report {
            machine: Machine::for_tests(),
            incidents: 200,
            within: Duration::from_secs(1),
            took: Duration::from_millis(1500),
            busy_percent: 99,
            others: 0,
            bare: vec![Bare {
                console: true,
                kills: 100,
                took: Duration::from_millis(500),
            }],
            quiet: false,
            before: Resident {
                now: 8192,
                peak: 8192,
            },
            after: Resident {
                now: 9216,
                peak: 10_240,
            },
            watch: Watch::default(),
            answers: BTreeMap::from([("accepted".to_owned(), 3), ("full".to_owned(), 197)]),
            requests: vec![(["POST", "events", "201"].map(str::to_owned), 25)],
            costs: vec![Cost {
                name: "oom-agent",
                cpu_ns: 20_000_000,
            }],
            events: 25,
            last: Sample {
                drift: Some(0),
                lost: 0,
                sinks: vec![Sink {
                    name: "bonker http://127.0.0.1:4".to_owned(),
                    offered: 200,
                    delivered: 3,
                    failed: 197,
                    ..Sink::default()
                }],
            },
            checks,
        }
    }

    #[test]
    fn the_page_shows_what_was_reached_and_what_is_broken() {
        let page = page(&report());
        for part in [
            "**200 kills in 1.5 s: 133.3 a second, 7998 a minute.**",
            "1 s were wanted.",
            "- reported: 199 of 200 **(broken)**",
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
