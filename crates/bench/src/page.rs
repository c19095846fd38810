//! The figures, for the terminal and for docs/benchmarks.md. Pure.

mod table;

use std::fmt::Write as _;
use std::time::Duration;

use super::figures::{Times, mib, milliseconds, multiple_tenths, ratio_tenths, tenths};
use super::footprint::{Activity, Memory};
use super::join::Coverage;
use super::machine::Machine;
use super::signals::Cost;
use super::tool::Tool;
pub(super) use table::table;

/// All of one run.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) machine: Machine,
    /// Its version.
    pub(super) bpftrace: String,
    pub(super) spinners: usize,
    /// Lines are read by threads that run before all ordinary ones.
    pub(super) harness_first: bool,
    pub(super) phases: Vec<Phase>,
    pub(super) stretch: Stretch,
    pub(super) rests: Vec<(Tool, Rest)>,
    pub(super) signals: Vec<Cost>,
}

/// A series of kills.
#[derive(Debug)]
pub(super) struct Phase {
    pub(super) name: &'static str,
    pub(super) kills: usize,
    /// Of these, without a stamp of the kernel's: seen or not, but not timed.
    pub(super) unstamped: usize,
    /// OOM kills of others meanwhile.
    pub(super) others: u64,
    pub(super) coverage: Vec<(Tool, Coverage)>,
    /// From a line written to the same line read.
    pub(super) harness: Option<Times>,
}

impl Phase {
    fn times(&self, tool: Tool) -> Option<Times> {
        let found = self.coverage.iter().find(|(other, _)| *other == tool)?;
        found.1.times
    }
}

/// The time in which the tools were watched doing nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stretch {
    pub(super) length: Duration,
    /// OOM kills of others meanwhile.
    pub(super) kills: u64,
    /// What others took of the CPUs meanwhile.
    pub(super) busy_percent: u64,
}

impl Stretch {
    /// Two of them: what was worse.
    pub(super) fn worse_of(self, other: Self) -> Self {
        Self {
            length: self.length.max(other.length),
            kills: self.kills.saturating_add(other.kills),
            busy_percent: self.busy_percent.max(other.busy_percent),
        }
    }
}

/// What a tool takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rest {
    /// After all kills.
    pub(super) memory: Memory,
    /// In the quiet stretch.
    pub(super) activity: Activity,
}

/// What the project wants, in tenths: how many times sooner at p50, and at p99.
const WANTED_P50: u64 = 30;
const WANTED_P99: u64 = 100;
/// Its name, what it is of, and how many times it is wanted.
type Figure = (&'static str, fn(Times) -> u64, u64);
const FIGURES: [Figure; 2] = [
    ("p50", |times| times.p50, WANTED_P50),
    ("p99", |times| times.p99, WANTED_P99),
];
/// How many times smaller than bpftrace.
const WANTED_RSS: u64 = 80;
/// How many times an empty program's cost at most.
const WANTED_SIGNAL: u64 = 20;

/// Up to this a machine has nothing else to do.
const IDLE_PERCENT: u64 = 5;

const METHOD: &str = include_str!("method.md");

/// docs/benchmarks.md.
pub(super) fn page(report: &Report) -> String {
    let bpftrace = format!(", {}", report.bpftrace);
    format!(
        "# Benchmarks\n\n{}\n{}{METHOD}",
        report.machine.line_with(&bpftrace),
        tables(report)
    )
}

/// The figures.
pub(super) fn tables(report: &Report) -> String {
    let mut text = String::new();
    let busy = report.stretch.busy_percent;
    if busy > IDLE_PERCENT {
        let _infallible = writeln!(
            text,
            "**Others were at work on this machine:** while this benchmark did nothing, all CPUs \
             together were {busy} % busy. What is called idle below was no more idle than that.\n"
        );
    }
    for phase in &report.phases {
        let _infallible = writeln!(text, "{}", kills(phase, report));
    }
    text.push_str(&ahead(report));
    text.push_str(&rest(report));
    if !report.signals.is_empty() {
        text.push_str(&signals(&report.signals));
    }
    text
}

fn kills(phase: &Phase, report: &Report) -> String {
    let title = match phase.name {
        "busy" => format!("{} threads spin", report.spinners),
        name => name.to_owned(),
    };
    let head = [
        "tool", "seen", "p50 ms", "p99 ms", "max ms", "comm", "cgroup", "cmdline", "limit", "all",
    ];
    let rows = phase.coverage.iter().map(|(tool, coverage)| {
        let times =
            |figure: fn(&Times) -> u64| cell(coverage.times.as_ref().map(figure).map(milliseconds));
        vec![
            tool.name().to_owned(),
            coverage.seen.to_string(),
            times(|times| times.p50),
            times(|times| times.p99),
            times(|times| times.max),
            coverage.comm.to_string(),
            coverage.cgroup.to_string(),
            coverage.cmdline.to_string(),
            coverage.limit.to_string(),
            coverage.full.to_string(),
        ]
    });
    let mut text = format!(
        "## {} kills, {title}\n\nFrom the kernel's mark of the victim to the line written; \
         and how many lines had what of the victim right.\n\n{}",
        phase.kills,
        table(&head, &rows.collect::<Vec<_>>())
    );
    if let Some(harness) = phase.harness {
        let by = if report.harness_first {
            "SCHED_FIFO"
        } else {
            "ordinary priority, as more was not allowed"
        };
        let _infallible = writeln!(
            text,
            "\nUntil a line is read ({by}): p50 {}, p99 {}, max {} ms.",
            milliseconds(harness.p50),
            milliseconds(harness.p99),
            milliseconds(harness.max)
        );
    }
    if phase.unstamped > 0 {
        let _infallible = writeln!(text, "Without a stamp, so not timed: {}.", phase.unstamped);
    }
    if phase.others > 0 {
        let _infallible = writeln!(text, "OOM kills of others meanwhile: {}.", phase.others);
    }
    text
}

/// How far ahead the agent is.
fn ahead(report: &Report) -> String {
    let mut rows = Vec::new();
    let mut names: Vec<_> = report.phases.iter().map(|phase| phase.name).collect();
    names.sort_unstable();
    names.dedup();
    names.reverse();
    for name in names {
        // Both as they were on the same kills.
        let times = |ours: Tool, rival: Tool| {
            let mut phases = report.phases.iter().filter(|phase| phase.name == name);
            phases.find_map(|phase| phase.times(rival).zip(phase.times(ours)))
        };
        for rival in Tool::RIVALS {
            for (figure, of, wanted) in FIGURES {
                let mut row = vec![
                    format!("{name} {figure}, {}", rival.name()),
                    format!("≥ {}", ratio(wanted)),
                ];
                row.extend(Tool::OURS.map(|ours| {
                    cell(times(ours, rival).and_then(|(theirs, ours)| {
                        Some(verdict(ratio_tenths(of(theirs), of(ours))?, |r| {
                            r >= wanted
                        }))
                    }))
                }));
                rows.push(row);
            }
        }
    }
    let rss = |tool: Tool| {
        let found = report.rests.iter().find(|(other, _)| *other == tool)?;
        Some(found.1.memory.rss)
    };
    let mut row = vec![
        format!("RSS, {}", Tool::Bpftrace.name()),
        format!("≥ {}", ratio(WANTED_RSS)),
    ];
    row.extend(Tool::OURS.map(|ours| {
        let both = rss(Tool::Bpftrace).zip(rss(ours));
        cell(both.and_then(|(theirs, ours)| {
            Some(verdict(ratio_tenths(theirs, ours)?, |r| r >= WANTED_RSS))
        }))
    }));
    rows.push(row);
    let head = ["theirs / ours", "wanted", "human", "json"];
    format!("## How far ahead\n\n{}\n", table(&head, &rows))
}

fn rest(report: &Report) -> String {
    let rows = report.rests.iter().map(|(tool, rest)| {
        vec![
            tool.name().to_owned(),
            mib(rest.memory.rss),
            mib(rest.memory.pss),
            mib(rest.memory.anon),
            rest.activity.switches.to_string(),
            milliseconds(rest.activity.cpu_ns),
        ]
    });
    let head = [
        "tool", "RSS MiB", "Pss MiB", "anon MiB", "wake-ups", "CPU ms",
    ];
    let mut text = format!(
        "## At rest\n\nMemory after all kills; wake-ups and CPU time of all threads in {} s without a kill.\n\n{}",
        report.stretch.length.as_secs(),
        table(&head, &rows.collect::<Vec<_>>())
    );
    if report.stretch.kills > 0 {
        let _infallible = writeln!(
            text,
            "\nOOM kills of others meanwhile: {}.",
            report.stretch.kills
        );
    }
    text.push('\n');
    text
}

fn signals(costs: &[Cost]) -> String {
    let rows = costs.iter().map(|cost| {
        let times = multiple_tenths(cost.ours_tenths, cost.empty_tenths);
        vec![
            cost.program.to_owned(),
            tenths(cost.ours_tenths),
            tenths(cost.empty_tenths),
            cell(times.map(|times| verdict(times, |times| times <= WANTED_SIGNAL))),
            cost.runs.to_string(),
        ]
    });
    let head = ["program", "ns", "empty ns", "ours / empty", "runs"];
    format!(
        "## A signal that is no kill\n\nOne run of the agent's program, and of one that does nothing on the same tracepoint; wanted: ≤ {}.\n\n{}\n",
        ratio(WANTED_SIGNAL),
        table(&head, &rows.collect::<Vec<_>>())
    )
}

/// A ratio, marked where it is not what is wanted.
fn verdict(tenths: u64, good: impl FnOnce(u64) -> bool) -> String {
    let mark = if good(tenths) { "" } else { " (missed)" };
    format!("{}{mark}", ratio(tenths))
}

fn ratio(value: u64) -> String {
    format!("{}×", tenths(value))
}

fn cell(value: Option<String>) -> String {
    value.unwrap_or_else(|| "–".to_owned())
}

#[cfg(test)]
mod tests;
