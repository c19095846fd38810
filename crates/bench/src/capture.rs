//! `cargo xtask bench capture`: the agent and its rivals at once, on the same kills; once for each
//! of its outputs.

mod running;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lab::{Spinners, interrupt};
use xtask::debian::{Consent, Debian};
use xtask::process::{capture, is_root};
use xtask::{build_ebpf, dist, say, workspace};

use super::footprint::{Activity, Cpus, Memory, oom_kills};
use super::page::{Machine, Report, Rest, Stretch, page, tables};
use super::sections::{Section, write};
use super::signals;
use super::stamps::Stamps;
use super::tool::Tool;
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

/// A stretch in which others had kills on this machine tells nothing of idle tools: so many tries.
const STRETCHES: u32 = 5;

/// Sets up, measures, shows.
pub(super) fn main(args: &Args) -> Result<()> {
    if !is_root() {
        bail!(
            "the benchmark needs root, to load eBPF programs and to make cgroups with a memory limit: \
             run `cargo xtask bench capture` as root"
        );
    }
    interrupt::catch()?;
    Debian::new(Consent::new(args.ebpf.yes))?
        .install("bpftrace, to be measured beside the agent,", &["bpftrace"])?;
    let agent = if let Some(agent) = &args.agent {
        build_ebpf::main(args.ebpf)?;
        agent.clone()
    } else {
        dist::host(args.ebpf)?;
        workspace::root().join("dist/oom-agent")
    };
    interrupt::check()?;

    let report = measure(args, &agent)?;
    say::line(format_args!("\n{}", tables(&report)));
    if args.write {
        write(Section::Capture, &page(&report))?;
    }
    Ok(())
}

fn measure(args: &Args, agent: &Path) -> Result<Report> {
    let cores = std::thread::available_parallelism()
        .context("count the CPUs")?
        .get();
    let spinners = args.busy.unwrap_or(cores);
    let version = capture(Command::new("bpftrace").arg("--version"))?;
    let uname = rustix::system::uname();
    // What follows the version is whose build it is.
    let release = uname.release().to_string_lossy();
    let machine = Machine {
        cores,
        kernel: release.split('-').next().unwrap_or_default().to_owned(),
        arch: uname.machine().to_string_lossy().into_owned(),
        bpftrace: version.trim().to_owned(),
        date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
    };

    let mut report = Report {
        machine,
        spinners,
        harness_first: false,
        phases: Vec::new(),
        stretch: Stretch::default(),
        rests: Vec::new(),
        signals: Vec::new(),
    };
    // Before any tool's program.
    let mut stamps = Stamps::start()?;
    for ours in Tool::OURS {
        if !args.without.contains(&ours) {
            pass(ours, args, agent, &mut stamps, &mut report)?;
        }
    }
    Ok(report)
}

/// The agent in one of its outputs, and its rivals.
fn pass(
    ours: Tool,
    args: &Args,
    agent: &Path,
    stamps: &mut Stamps,
    report: &mut Report,
) -> Result<()> {
    let tools = [ours].into_iter().chain(Tool::RIVALS);
    let tools: Vec<Tool> = tools.filter(|tool| !args.without.contains(tool)).collect();
    let names: Vec<_> = tools.iter().map(|tool| tool.name()).collect();
    say::step(format_args!("starting {}", names.join("; ")));
    let mut running = Running::start(&tools, agent)?;
    for (_, pid) in running.pids() {
        stamps.watch(pid)?;
    }
    running.warm_up()?;
    let length = Duration::from_secs(args.quiet);
    say::step(format_args!("watching them do nothing for {length:?}"));
    let (idle, stretch) = quiet(&running, length)?;
    report.stretch = report.stretch.and(stretch);

    say::step(format_args!("{} kills on an idle machine", args.kills));
    report
        .phases
        .push(running.phase("idle", args.kills, stamps)?);
    if report.spinners > 0 {
        let spinners = report.spinners;
        say::step(format_args!(
            "{} kills while {spinners} threads spin",
            args.kills
        ));
        let _spinning = Spinners::start(spinners)?;
        report
            .phases
            .push(running.phase("busy", args.kills, stamps)?);
    }

    for ((tool, pid), activity) in running.pids().zip(idle) {
        if report.rests.iter().all(|(told, _)| *told != tool) {
            let memory = Memory::of(pid)?;
            report.rests.push((tool, Rest { memory, activity }));
        }
    }
    if args.signals > 0 && report.signals.is_empty() {
        say::step(format_args!("{} signals", args.signals));
        let agent = running.pids().find(|(tool, _)| *tool == ours);
        let (_, pid) = agent.context("a running agent")?;
        report.signals = signals::measure(pid, args.signals)?;
    }
    report.harness_first = running.harness_first();
    Ok(())
}

/// What each tool did in a stretch, and what else went on.
fn quiet(running: &Running, length: Duration) -> Result<(Vec<Activity>, Stretch)> {
    let look = || {
        let all = running.pids().map(|(_, pid)| Activity::of(pid));
        all.collect::<Result<Vec<_>>>()
    };
    let mut tries = 1;
    loop {
        let (kills, cpus) = (oom_kills()?, Cpus::now()?);
        let before = look()?;
        super::pause(length)?;
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
        say::line(format_args!(
            "    not quiet: {} OOM kills of others; once more",
            stretch.kills
        ));
        tries += 1;
    }
}
