//! `cargo xtask bench flood`: as many kills as this machine makes, and the reports of each.

mod console;
mod report;
mod watch;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lab::{Admin, Scrape, interrupt, wait};
use xtask::terminal;

use super::checks;
use super::compare::{IncidentLine, compare, count_on};
use super::footprint::{Activity, Cpus, Memory, oom_kills};
use super::kill_generator::{KillGenerator, Plan, all_kills};
use super::page::{Page, Section};
use super::setup::{self, Built};
use super::site::Site;
use console::Quiet;
use report::{Cost, Report, Series, tables};
pub(super) use watch::Sample;
use watch::{Watch, requests};

/// Flags of the command.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    #[command(flatten)]
    built: Built,
    /// Kills.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(200..=1_000_000))]
    incidents: u32,
    /// The time that is wanted for them, in seconds.
    #[arg(long, default_value = "60s", value_parser = seconds, value_name = "SECONDS")]
    within: Duration,
    /// Keep kills off the kernel's console meanwhile (the sysctl `kernel.printk`, then set back): at
    /// a serial port it is what limits their rate.
    #[arg(long)]
    quiet_console: bool,
    /// Write docs/flood.md too.
    #[arg(long)]
    write: bool,
}

/// Shells at a time, each with one victim.
const PLAIN: u32 = 4;
/// Pods with a container each, whose processes are killed meanwhile.
const PODS: u32 = 4;
/// Of each container: more than an object has Events.
const IN_POD: u32 = 40;
/// For the rate without an agent.
const BARE: u32 = 1000;

/// After this no kill is under way any more.
const LONGEST: Duration = Duration::from_mins(20);
/// What follows from the last kill is done by then; a series is brought up to date every 10 s.
const FOLLOW: Duration = Duration::from_mins(1);
/// An Event waits two minutes for the name of a pod: others' containers may have none.
const NAMELESS: Duration = Duration::from_secs(150);

fn seconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    let number = text.strip_suffix('s').unwrap_or(text).parse();
    number.map(Duration::from_secs)
}

/// Sets up, floods, shows; fails where a promise is broken.
pub(super) fn main(args: &Args) -> Result<()> {
    setup::start("flood")?;
    let site = Site::start(&args.built)?;
    let report = measure(args, &site)?;
    let page = Page {
        file: "flood.md",
        section: Section::First,
        title: "# A flood of kills",
        machine: "",
        figures: tables(&report),
        method: include_str!("flood/method.md"),
    };
    page.publish(args.write)?;
    checks::ensure_none(&report.checks().broken())
}

fn measure(args: &Args, site: &Site) -> Result<Report> {
    terminal::step(format_args!("{BARE} kills without an agent"));
    let mut bare = vec![kill_without_agent()?];
    let _quiet = args.quiet_console.then(Quiet::start).transpose()?;
    if args.quiet_console {
        terminal::step(format_args!("{BARE} more, none on the console"));
        bare.push(kill_without_agent()?);
    }
    terminal::step(format_args!("starting {PODS} containers and an agent"));
    let (mut generators, pods) = site.kill_generators(PODS, plan(IN_POD))?;
    let in_pods = IN_POD.saturating_mul(PODS);
    generators.extend(plain(args.incidents.saturating_sub(in_pods))?);

    let mut agent = site.agent(&[])?;
    let admin = Admin::of_agent(&mut agent)?;
    let processes = [
        ("oom-agent", agent.pid()),
        ("kube-apiserver", site.api.pid()),
        ("bonker-gpio", site.bonker.pid()),
        ("containerd", site.containerd.pid()),
    ];
    let before = Memory::read(agent.pid())?;
    let activities = processes.map(|(name, pid)| (name, pid, Activity::read(pid)));
    let answered = Scrape::parse(&site.api.metrics()?);
    let (cpus, all) = (Cpus::now()?, oom_kills()?);

    terminal::step(format_args!("{} kills", args.incidents));
    let start = Instant::now();
    for generator in &generators {
        generator.open_gate()?;
    }
    let mut watch = Watch::default();
    while !generators.iter().all(KillGenerator::is_done) {
        watch.add(&Sample::scrape(admin)?);
        interrupt::pause(Duration::from_secs(1))?;
        if start.elapsed() > LONGEST {
            bail!("the kills do not end within {LONGEST:?}");
        }
    }
    let took = start.elapsed();
    let busy_percent = Cpus::now()?.busy_percent_since(cpus);
    terminal::line(format_args!("    in {:.1} s", took.as_secs_f64()));

    let kills = all_kills(&generators)?;
    let mut seen = 0_usize;
    // Those of others are reported, too: a line for each of ours is waited for, and judged below.
    let _late = agent.incidents.find("line for each kill", FOLLOW, |line| {
        let incident = IncidentLine::parse(line)?;
        let ours = kills.iter().any(|kill| kill.cgroup == incident.cgroup);
        seen = seen.saturating_add(usize::from(ours));
        (seen == kills.len()).then_some(())
    });
    interrupt::check()?;
    // What the sinks still have under way; others' kills may come between two samples.
    let mut last = Sample::default();
    let mut answers = BTreeMap::new();
    let _late = wait::until("an answer to everything", NAMELESS, || {
        last = Sample::scrape(admin).ok()?;
        answers = site.bonker.requests().ok()?;
        // What is refused for now is sent again.
        let done = last.pending() == 0 && answers.values().sum::<u64>() >= last.sent();
        (done || interrupt::check().is_err()).then_some(())
    });
    // Each series is brought up to date once more.
    let mut events = site.events()?;
    let end = Instant::now();
    while count_on(&pods, &events) < in_pods.into() && end.elapsed() < FOLLOW {
        interrupt::pause(Duration::from_secs(1))?;
        events = site.events()?;
    }

    let incidents = agent.incidents.so_far();
    let incidents: Vec<IncidentLine> = incidents.filter_map(IncidentLine::parse).collect();
    watch.add(&last);
    let requests = requests(&answered, &Scrape::parse(&site.api.metrics()?));
    let costs = activities.into_iter().map(|(name, pid, before)| {
        let done = Activity::read(pid)?.since(before?);
        let cpu_ns = done.cpu_ns;
        Ok(Cost { name, cpu_ns })
    });
    Ok(Report {
        flood: Series {
            console: console::prints_kills()?,
            kills: args.incidents,
            took,
        },
        bare,
        within: args.within,
        busy_percent,
        others: (oom_kills()?.saturating_sub(all)).saturating_sub(kills.len() as u64),
        before,
        after: Memory::read(agent.pid())?,
        watch,
        answers,
        requests,
        costs: costs
            .collect::<Result<_>>()
            .context("the CPU time of all")?,
        comparison: compare(&kills, &incidents),
        in_pods: in_pods.into(),
        counted: count_on(&pods, &events),
        events,
        last,
    })
}

fn plan(kills: u32) -> Plan {
    Plan {
        kills,
        pause: Duration::ZERO,
    }
}

/// Shells that make so many kills together.
fn plain(kills: u32) -> Result<Vec<KillGenerator>> {
    let each = kills / PLAIN;
    let first = each.saturating_add(kills % PLAIN);
    (0..PLAIN)
        .map(|n| KillGenerator::plain(plan(if n == 0 { first } else { each })))
        .collect()
}

/// How fast this machine kills without an agent.
fn kill_without_agent() -> Result<Series> {
    let generators = plain(BARE)?;
    let start = Instant::now();
    for generator in &generators {
        generator.open_gate()?;
    }
    for generator in &generators {
        generator.finish(LONGEST)?;
    }
    let took = start.elapsed();
    all_kills(&generators)?;
    Ok(Series {
        console: console::prints_kills()?,
        kills: BARE,
        took,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_may_name_its_unit() {
        assert_eq!(seconds("60s"), Ok(Duration::from_mins(1)));
        assert_eq!(seconds("5"), Ok(Duration::from_secs(5)));
        assert!(seconds("1m").is_err());
    }
}
