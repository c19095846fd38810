//! The figures, for the terminal and for docs/benchmarks.md. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use crate::figures::{Times, mib, milliseconds, multiple_tenths, or_dash, ratio_tenths, tenths};
use crate::footprint::{Activity, Memory};
use crate::join::Coverage;
use crate::signals::Cost;
use crate::table::Table;
use crate::tool::{FACTS, Tool};

/// All of one run.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) spinners: usize,
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
        text.push_str(&kills(phase, report.spinners));
    }
    text.push_str(&ahead(report));
    text.push_str(&rest(report));
    if !report.signals.is_empty() {
        text.push_str(&signals(&report.signals));
    }
    text
}

fn kills(phase: &Phase, spinners: usize) -> String {
    let title = match phase.name {
        "busy" => format!("{spinners} threads spin"),
        name => name.to_owned(),
    };
    let time = |coverage: &Coverage, figure: fn(Times) -> u64| {
        or_dash(coverage.times.map(figure).map(milliseconds))
    };
    let mut table = Table::new(&phase.coverage)
        .column("tool", |(tool, _)| tool.name())
        .column("seen", |(_, coverage)| coverage.seen)
        .column("p50 ms", |(_, coverage)| time(coverage, |times| times.p50))
        .column("p99 ms", |(_, coverage)| time(coverage, |times| times.p99))
        .column("max ms", |(_, coverage)| time(coverage, |times| times.max));
    for (n, fact) in FACTS.iter().enumerate() {
        table = table.column(fact, |(_, coverage)| {
            coverage.right.get(n).copied().unwrap_or_default()
        });
    }
    let table = table.column("all", |(_, coverage)| coverage.full);
    let mut text = format!(
        "## {} kills, {title}\n\nFrom the kernel's mark of the victim to the line written; \
         and how many lines had what of the victim right.\n\n{table}\n",
        phase.kills,
    );
    let mut notes = String::new();
    if phase.unstamped > 0 {
        let _infallible = writeln!(notes, "Without a stamp, so not timed: {}.", phase.unstamped);
    }
    if phase.others > 0 {
        let _infallible = writeln!(notes, "OOM kills of others meanwhile: {}.", phase.others);
    }
    if !notes.is_empty() {
        let _infallible = writeln!(text, "{notes}");
    }
    text
}

/// How many times more of something a rival takes than each of the agent's outputs, in tenths.
struct Lead {
    of: String,
    wanted: u64,
    reached: [Option<u64>; 2],
}

impl Lead {
    fn cell(&self, output: usize) -> String {
        let reached = self.reached.get(output).copied().flatten();
        or_dash(reached.map(|times| verdict(times, times >= self.wanted)))
    }
}

/// How far ahead the agent is.
fn ahead(report: &Report) -> String {
    let mut leads = Vec::new();
    let mut names: Vec<_> = report.phases.iter().map(|phase| phase.name).collect();
    names.sort_unstable();
    names.dedup();
    for name in names.into_iter().rev() {
        // Both as they were on the same kills.
        let times = |ours: Tool, rival: Tool| {
            let mut phases = report.phases.iter().filter(|phase| phase.name == name);
            phases.find_map(|phase| phase.times(rival).zip(phase.times(ours)))
        };
        for rival in Tool::RIVALS {
            for (figure, of, wanted) in FIGURES {
                leads.push(Lead {
                    of: format!("{name} {figure}, {}", rival.name()),
                    wanted,
                    reached: Tool::OURS.map(|ours| {
                        let (theirs, ours) = times(ours, rival)?;
                        ratio_tenths(of(theirs), of(ours))
                    }),
                });
            }
        }
    }
    let rss = |tool: Tool| {
        let found = report.rests.iter().find(|(other, _)| *other == tool)?;
        Some(found.1.memory.rss)
    };
    leads.push(Lead {
        of: format!("RSS, {}", Tool::Bpftrace.name()),
        wanted: WANTED_RSS,
        reached: Tool::OURS.map(|ours| ratio_tenths(rss(Tool::Bpftrace)?, rss(ours)?)),
    });
    let table = Table::new(&leads)
        .column("theirs / ours", |lead| &lead.of)
        .column("wanted", |lead| format!("≥ {}", ratio(lead.wanted)))
        .column("human", |lead| lead.cell(0))
        .column("json", |lead| lead.cell(1));
    format!("## How far ahead\n\n{table}\n")
}

fn rest(report: &Report) -> String {
    let table = Table::new(&report.rests)
        .column("tool", |(tool, _)| tool.name())
        .column("RSS MiB", |(_, rest)| mib(rest.memory.rss))
        .column("Pss MiB", |(_, rest)| mib(rest.memory.pss))
        .column("anon MiB", |(_, rest)| mib(rest.memory.anon))
        .column("wake-ups", |(_, rest)| rest.activity.switches)
        .column("CPU ms", |(_, rest)| milliseconds(rest.activity.cpu_ns));
    let mut text = format!(
        "## At rest\n\nMemory after all kills; wake-ups and CPU time of all threads in {} s without a kill.\n\n{table}",
        report.stretch.length.as_secs(),
    );
    let others = report.stretch.kills;
    if others > 0 {
        let _infallible = writeln!(text, "\nOOM kills of others meanwhile: {others}.");
    }
    text
}

fn signals(costs: &[Cost]) -> String {
    let times = |cost: &Cost| multiple_tenths(cost.ours_tenths, cost.empty_tenths);
    let table = Table::new(costs)
        .column("program", |cost| cost.program)
        .column("ns", |cost| tenths(cost.ours_tenths))
        .column("empty ns", |cost| tenths(cost.empty_tenths))
        .column("ours / empty", |cost| {
            or_dash(times(cost).map(|times| verdict(times, times <= WANTED_SIGNAL)))
        })
        .column("runs", |cost| cost.runs);
    format!(
        "\n## A signal that is no kill\n\nOne run of the agent's program, and of one that does nothing on the same tracepoint; wanted: ≤ {}.\n\n{table}",
        ratio(WANTED_SIGNAL),
    )
}

/// A ratio, marked where it is not what is wanted.
fn verdict(tenths: u64, good: bool) -> String {
    let mark = if good { "" } else { " (missed)" };
    format!("{}{mark}", ratio(tenths))
}

fn ratio(value: u64) -> String {
    format!("{}×", tenths(value))
}

#[cfg(test)]
mod tests;
