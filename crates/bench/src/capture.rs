//! `cargo xtask bench capture`: the agent and its rivals at once, on the same kills; once for each
//! of its outputs.

mod report;
mod running;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::{Spinners, interrupt};
use xtask::debian::{Consent, Debian};
use xtask::process::capture;
use xtask::{build_ebpf, terminal};

use super::footprint::{Activity, Cpus, Memory, oom_kills};
use super::page::{Page, Section};
use super::setup;
use super::signals;
use super::stamps::Stamps;
use super::tool::Tool;
use report::{Report, Rest, Stretch, tables};
use running::Running;

/// Flags of the command.
#[derive(Debug, clap::Args)]
// Its group would have the name of that of the flags it takes in.
#[group(skip)]
pub(super) struct Args {
    #[command(flatten)]
    ebpf: build_ebpf::Args,
    /// Kills in each of the two phases.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    kills: u32,
    /// Threads that spin in the second phase; 0 leaves it out [default: one for each CPU].
    #[arg(long, value_name = "THREADS")]
    busy: Option<usize>,
    /// How many seconds the tools are watched doing nothing.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    quiet: u64,
    /// Signals for the cost of a signal; 0 leaves it out.
    #[arg(long, default_value_t = 500_000)]
    signals: u32,
    /// An oom-agent that is built already [default: built as `dist` builds it].
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Leave a tool out, to see what its company costs the others; repeatable.
    #[arg(long, value_enum, value_name = "TOOL")]
    without: Vec<Tool>,
    /// Write docs/benchmarks.md too.
    #[arg(long, conflicts_with = "without")]
    write: bool,
}

/// A stretch with other kills on this machine shows nothing of idle tools: so many tries.
const STRETCHES: u32 = 5;

/// Sets up, measures, shows.
pub(super) fn main(args: &Args) -> Result<()> {
    setup::start("capture")?;
    Debian::new(Consent::new(args.ebpf.yes))?
        .install("bpftrace, to be measured beside the agent,", &["bpftrace"])?;
    build_ebpf::main(args.ebpf)?;
    let agent = setup::agent(args.ebpf, args.agent.as_ref())?;
    interrupt::check()?;

    let report = measure(args, &agent)?;
    let bpftrace = capture(Command::new("bpftrace").arg("--version"))?;
    let page = Page {
        file: "benchmarks.md",
        section: Section::First,
        title: "# Benchmarks",
        machine: &format!(", {}", bpftrace.trim()),
        figures: tables(&report),
        method: include_str!("capture/method.md"),
    };
    page.publish(args.write)
}

fn measure(args: &Args, agent: &Path) -> Result<Report> {
    let cores = std::thread::available_parallelism().context("count the CPUs")?;
    let mut report = Report {
        spinners: args.busy.unwrap_or(cores.get()),
        ..Report::default()
    };
    // Before any tool's program.
    let mut stamps = Stamps::start()?;
    for ours in Tool::OURS {
        if !args.without.contains(&ours) {
            measure_output(ours, args, agent, &mut stamps, &mut report)?;
        }
    }
    Ok(report)
}

/// The agent in one of its outputs, and its rivals.
fn measure_output(
    ours: Tool,
    args: &Args,
    agent: &Path,
    stamps: &mut Stamps,
    report: &mut Report,
) -> Result<()> {
    let tools = [ours].into_iter().chain(Tool::RIVALS);
    let tools: Vec<Tool> = tools.filter(|tool| !args.without.contains(tool)).collect();
    let names: Vec<_> = tools.iter().map(|tool| tool.name()).collect();
    terminal::step(format_args!("starting {}", names.join("; ")));
    let mut running = Running::start(&tools, agent)?;
    for (_, pid) in running.pids() {
        stamps.watch(pid)?;
    }
    running.warm_up()?;
    let length = Duration::from_secs(args.quiet);
    terminal::step(format_args!("watching them do nothing for {length:?}"));
    let (idle, stretch) = quiet(&running, length)?;
    report.stretch = report.stretch.worse_of(stretch);

    terminal::step(format_args!("{} kills on an idle machine", args.kills));
    report
        .phases
        .push(running.phase("idle", args.kills, stamps)?);
    if report.spinners > 0 {
        let spinners = report.spinners;
        terminal::step(format_args!(
            "{} kills while {spinners} threads spin",
            args.kills
        ));
        let _spinning = Spinners::start(spinners)?;
        report
            .phases
            .push(running.phase("busy", args.kills, stamps)?);
    }

    for ((tool, pid), activity) in running.pids().zip(idle) {
        if report.rests.iter().all(|(other, _)| *other != tool) {
            let memory = Memory::read(pid)?;
            report.rests.push((tool, Rest { memory, activity }));
        }
    }
    if args.signals > 0 && report.signals.is_empty() {
        terminal::step(format_args!("{} signals", args.signals));
        let agent = running.pids().find(|(tool, _)| *tool == ours);
        let (_, pid) = agent.context("a running agent")?;
        report.signals = signals::measure(pid, args.signals)?;
    }
    Ok(())
}

/// What each tool did in a stretch, and what else went on.
fn quiet(running: &Running, length: Duration) -> Result<(Vec<Activity>, Stretch)> {
    let look = || {
        let all = running.pids().map(|(_, pid)| Activity::read(pid));
        all.collect::<Result<Vec<_>>>()
    };
    let mut tries = 1;
    loop {
        let (kills, cpus) = (oom_kills()?, Cpus::now()?);
        let before = look()?;
        interrupt::pause(length)?;
        let after = look()?;
        let stretch = Stretch {
            length,
            kills: oom_kills()?.saturating_sub(kills),
            busy_percent: Cpus::now()?.busy_percent_since(cpus),
        };
        if stretch.kills == 0 || tries == STRETCHES {
            let done = after.into_iter().zip(before);
            let done = done.map(|(after, before)| after.since(before)).collect();
            return Ok((done, stretch));
        }
        terminal::line(format_args!(
            "    not quiet: {} OOM kills of others; once more",
            stretch.kills
        ));
        tries += 1;
    }
}
