//! `cargo xtask bench pressure`: what it costs to know how near containers are to their limits; this
//! agent's sampler beside a poll of every container ten times a second.

mod poll;
mod report;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::{Admin, Agent, Cgroup, Output, interrupt, wait};

use super::footprint::Activity;
use super::page::{Page, Section};
use super::setup;
pub(super) use poll::{Args as PollArgs, main as poll};
use xtask::process::Guard;
use xtask::{build_ebpf, terminal};

const MIB: u64 = 1 << 20;

/// Of each container.
const LIMIT: u64 = 64 * MIB;

/// How long all may take to be watched, or a process to be there.
const SOON: Duration = Duration::from_mins(1);

/// Flags of the command.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    #[command(flatten)]
    ebpf: build_ebpf::Args,
    /// Containers with a limit.
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u16).range(1..=1000))]
    containers: u16,
    /// Of these, how many use more and less memory all the time.
    #[arg(long, default_value_t = 50)]
    busy: u16,
    /// How long each is watched, in seconds.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    length: u64,
    /// An oom-agent that is built already [default: built as `dist` builds it].
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Write the section of docs/benchmarks.md, too.
    #[arg(long)]
    write: bool,
}

/// All of one run.
#[derive(Debug)]
pub(super) struct Report {
    containers: u16,
    busy: u16,
    length: Duration,
    /// Without a container.
    idle: Activity,
    ours: Activity,
    theirs: Activity,
}

/// A container's cgroup and the process in it.
struct Inhabited {
    _process: Guard,
    cgroup: Cgroup,
}

/// Sets up, measures, shows.
pub(super) fn main(args: &Args) -> Result<()> {
    setup::start("pressure")?;
    let agent = setup::agent(args.ebpf, args.agent.as_ref())?;
    let report = measure(args, &agent)?;
    let page = Page {
        file: "benchmarks.md",
        section: Section::Pressure,
        title: "## Containers watched",
        machine: "",
        figures: report::tables(&report),
        method: include_str!("pressure/method.md"),
    };
    page.publish(args.write)
}

fn measure(args: &Args, binary: &Path) -> Result<Report> {
    let length = Duration::from_secs(args.length);
    let mut agent = Agent::start(
        binary,
        &[&["--no-kubernetes"][..], &Admin::LISTEN].concat(),
        &[],
    )?;
    let admin = Admin::of_agent(&mut agent)?;
    terminal::step(format_args!("{length:?} without a container"));
    let idle = watch(agent.pid(), length)?;
    terminal::step(format_args!("making {} containers", args.containers));
    let program = std::env::current_exe().context("find this program")?;
    let containers = (0..args.containers)
        .map(|n| inhabit(&program, n < args.busy))
        .collect::<Result<Vec<_>>>()?;
    wait::until("watch of all containers", SOON, || {
        let watched = admin
            .scrape()
            .ok()?
            .count("oom_agent_watched_containers", &[]);
        // Others on this machine may have containers, too.
        (watched >= args.containers.into()).then_some(())
    })?;
    terminal::step(format_args!("{length:?} of the agent"));
    let ours = watch(agent.pid(), length)?;
    agent.end();
    terminal::step(format_args!("{length:?} of a poll"));
    let mut poll = Command::new(&program);
    poll.arg("poll")
        .args(containers.iter().map(|one| one.cgroup.dir()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut poll = Guard::spawn(&mut poll, Duration::ZERO)?;
    let mut output = Output::new("poll", poll.stdout.take().context("its output")?);
    output.find("first round", SOON, |line| {
        (line == "polling").then_some(())
    })?;
    let theirs = watch(poll.id(), length)?;
    Ok(Report {
        containers: args.containers,
        busy: args.busy,
        length,
        idle,
        ours,
        theirs,
    })
}

fn watch(pid: u32, length: Duration) -> Result<Activity> {
    let before = Activity::read(pid)?;
    interrupt::pause(length)?;
    Ok(Activity::read(pid)?.since(before))
}

fn inhabit(program: &Path, busy: bool) -> Result<Inhabited> {
    let (cgroup, _id) = Cgroup::of_container(LIMIT)?;
    let mut command = if busy {
        let mut command = cgroup.command(program);
        command.arg("breathe");
        command
    } else {
        let mut command = cgroup.command("sleep");
        command.arg("infinity");
        command
    };
    command.stdin(Stdio::null()).stdout(Stdio::null());
    Ok(Inhabited {
        _process: Guard::spawn(&mut command, Duration::ZERO)?,
        cgroup,
    })
}

/// Uses more memory and less of it, three times a second, until it is ended.
pub(super) fn breathe() -> Result<()> {
    interrupt::catch()?;
    loop {
        let page = vec![1_u8; 4 << 20];
        std::hint::black_box(&page);
        interrupt::pause(Duration::from_millis(150))?;
        drop(page);
        interrupt::pause(Duration::from_millis(150))?;
    }
}
