//! `cargo xtask bench bonk`: from the kernel's stamp to the first pulse, by the agent and by
//! Prometheus and Alertmanager, on the same kills.

mod report;
mod swings;
mod way;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lab::{Cgroup, Container, KubeStateMetrics, interrupt, wait};
use rustix::time::ClockId;
use xtask::cache::Cache;
use xtask::debian::Debian;
use xtask::terminal;

use super::clock::now_ns;
use super::figures::Times;
use super::footprint::oom_kills;
use super::page::{Page, Section};
use super::setup::{self, Built};
use super::stamps::Stamps;
use super::victim::Victims;
use report::{Report, Row, tables};
use way::{Parts, Station, Way};

/// Flags of the command.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    #[command(flatten)]
    built: Built,
    /// Kills.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    kills: u32,
    /// Seconds from one kill to the next. The default meets Prometheus' interval in ever another
    /// moment, and no two alerts at once.
    #[arg(long, default_value_t = 37, value_name = "SECONDS")]
    every: u64,
    /// Write docs/benchmarks.md too.
    #[arg(long)]
    write: bool,
}

/// What scraping, judging and grouping take at the longest, and then some.
const LATE: Duration = Duration::from_secs(150);
/// How long what was just started may take to be at work.
const READY: Duration = Duration::from_secs(90);

/// A kill, by the name that stands in the bonker's log.
#[derive(Debug)]
struct Kill {
    name: String,
    /// When the kernel marked the victim: `CLOCK_REALTIME`, as the bonker logs, in ns.
    marked_ns: u64,
}

/// Sets up, measures, shows.
pub(super) fn main(args: &Args) -> Result<()> {
    setup::start("bonk")?;
    args.built.objects()?;
    let programs = args.built.programs()?;
    let cache = Cache::open()?;
    let parts = Parts::prepare(&cache, Debian::new(args.built.consent())?)?;
    interrupt::check()?;

    let containers: Vec<Container> = (0..args.kills).map(container).collect();
    let exporter = KubeStateMetrics::start(containers.clone())?;
    terminal::step("starting an agent, and Prometheus and Alertmanager for each other way");
    // Before the agent's programs.
    let stamps = Stamps::start()?;
    let mut stations = Vec::new();
    for way in Way::ALL {
        stations.push(Station::start(way, &programs, &parts, &exporter)?);
        interrupt::check()?;
    }
    for station in &mut stations {
        station.wait_until_ready(READY)?;
    }
    let others = oom_kills()?;
    let kills = kill_all(args, &containers, &exporter, &stamps)?;
    let others = oom_kills()?.saturating_sub(others);
    let report = Report {
        kills: kills.len(),
        every_s: args.every,
        others: others.saturating_sub(kills.len() as u64),
        rows: collect(stations, &kills)?,
    };
    let page = Page {
        file: "benchmarks.md",
        section: Section::Bonk,
        title: "# From the kernel's stamp to the first pulse",
        machine: "",
        figures: tables(&report),
        method: include_str!("bonk/method.md"),
    };
    page.publish(args.write)
}

/// Each has a namespace of its own: alerts of one would be grouped, and all but the first of them
/// wait for minutes.
fn container(number: u32) -> Container {
    let name = format!("penguin-{number}");
    Container {
        namespace: name.clone(),
        pod: name.clone(),
        name,
    }
}

fn kill_all(
    args: &Args,
    containers: &[Container],
    exporter: &KubeStateMetrics,
    stamps: &Stamps,
) -> Result<Vec<Kill>> {
    let every = Duration::from_secs(args.every);
    let victims = Victims::new()?;
    let mut kills = Vec::new();
    // Until all is reported, for whatever reads them.
    let mut cgroups: Vec<Cgroup> = Vec::new();
    for container in containers {
        if !kills.is_empty() {
            interrupt::pause(every)?;
        }
        let (kill, cgroup) = victims.kill(&container.name)?;
        exporter.oom_kill(container);
        let ahead_ns = ahead_ns()?;
        let mark_ns = stamps.mark_ns(kill.pid);
        terminal::line(format_args!("    {} is dead", container.name));
        kills.push(Kill {
            name: container.name.clone(),
            marked_ns: mark_ns
                .context("the kernel's mark of a victim")?
                .saturating_add(ahead_ns),
        });
        cgroups.push(cgroup);
    }
    Ok(kills)
}

/// How far `CLOCK_REALTIME` is ahead of `CLOCK_MONOTONIC`.
fn ahead_ns() -> Result<u64> {
    let before = now_ns(ClockId::Monotonic);
    let real = jiff::Timestamp::now().as_nanosecond();
    let between = before.midpoint(now_ns(ClockId::Monotonic));
    let real = u64::try_from(real).context("a clock after 1970")?;
    Ok(real.saturating_sub(between))
}

fn collect(stations: Vec<Station>, kills: &[Kill]) -> Result<Vec<Row>> {
    terminal::step("waiting for the remaining swings");
    let start = Instant::now();
    let mut rows = Vec::new();
    for mut station in stations {
        let left = LATE.saturating_sub(start.elapsed());
        let way = station.way;
        // A lost one shows in the count.
        let _late = wait::until("a swing for each kill", left, || {
            let swings = station.swings();
            let all = kills.iter().all(|kill| swings.contains_key(&kill.name));
            (all || interrupt::check().is_err()).then_some(())
        });
        interrupt::check()?;
        let swings = station.swings();
        let times = kills.iter().filter_map(|kill| {
            let pulse = swings.get(&kill.name)?;
            Some(pulse.saturating_sub(kill.marked_ns))
        });
        let times: Vec<u64> = times.collect();
        rows.push(Row {
            way,
            swung: times.len(),
            times: Times::summarize(times),
        });
    }
    Ok(rows)
}
