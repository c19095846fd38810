//! `cargo xtask bench chaos`: the reports of kills while everything around is killed, too.

mod faults;
mod report;
mod runs;
mod supervisor;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lab::{Agent, interrupt, wait};
use xtask::terminal;

use super::checks::{self, Checks};
use super::flood::Sample;
use super::kill_generator::{KillGenerator, Plan, all_kills};
use super::page::{Page, Section};
use super::setup::{self, Built};
use super::site::Site;
use faults::{Fault, Step, schedule};
use report::{Injected, Report};
use supervisor::Supervisor;

/// Flags of the command.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    #[command(flatten)]
    built: Built,
    /// How long; 1.5 is a minute and a half.
    #[arg(long, default_value = "10", value_parser = minutes)]
    minutes: Duration,
    /// What follows from chance follows from this.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write docs/chaos.md too.
    #[arg(long)]
    write: bool,
}

/// Pods with a container each, whose processes are killed.
const PODS: u32 = 6;
/// Of each pod: no more than an object has Events at once, so that each kill is to have its own.
const IN_POD: u32 = 24;
/// Plain cgroups.
const PLAIN: u32 = 2;
/// Between the kills in one of these.
const PACE: Duration = Duration::from_millis(500);

/// What is under way is done by then.
const FOLLOW: Duration = Duration::from_mins(2);

fn minutes(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    let length = Duration::try_from_secs_f64(number * 60.0).map_err(|error| error.to_string())?;
    let range = Duration::from_secs(10)..=Duration::from_hours(24);
    if !range.contains(&length) {
        return Err("expected ten seconds to a day".to_owned());
    }
    Ok(length)
}

/// Sets up, injects faults, compares; fails where a promise is broken.
pub(super) fn main(args: &Args) -> Result<()> {
    setup::start("chaos")?;
    let mut site = Site::start(&args.built)?;
    let (figures, checks) = measure(args, &mut site)?;
    let page = Page {
        file: "chaos.md",
        section: Section::First,
        title: "# Chaos",
        machine: "",
        figures,
        method: include_str!("chaos/method.md"),
    };
    page.publish(args.write)?;
    checks::ensure_none(&checks.broken())
}

fn measure(args: &Args, site: &mut Site) -> Result<(String, Checks)> {
    terminal::step(format_args!("starting {PODS} containers and an agent"));
    let slow = Plan {
        kills: IN_POD,
        pause: args.minutes / IN_POD,
    };
    let (contained, pods) = site.kill_generators(PODS, slow)?;
    let steady = Plan {
        kills: u32::MAX,
        pause: PACE,
    };
    let plain = (0..PLAIN)
        .map(|_| KillGenerator::plain(steady))
        .collect::<Result<Vec<_>>>()?;
    let mut supervisor = Supervisor::new()?;
    supervisor.start(site)?;
    for generator in contained.iter().chain(&plain) {
        generator.open_gate()?;
    }

    terminal::step(format_args!(
        "injecting faults for {:?}, seed {}",
        args.minutes, args.seed
    ));
    let faults = inject_all(args, site, &mut supervisor)?;

    terminal::step("letting everything come to an end");
    for generator in contained.iter().chain(&plain) {
        generator.stop()?;
    }
    for generator in contained.iter().chain(&plain) {
        generator.finish(FOLLOW)?;
    }
    let admin = supervisor.admin()?;
    let _late = wait::until("an answer to everything", FOLLOW, || {
        let sample = Sample::scrape(admin).ok()?;
        (sample.pending() == 0 || interrupt::check().is_err()).then_some(())
    });
    interrupt::check()?;
    supervisor.end(Agent::end)?;

    let report = Report {
        length: args.minutes,
        faults,
        in_pods: &all_kills(&contained)?,
        on_node: &all_kills(&plain)?,
        pods: &pods,
        runs: &supervisor.runs,
        events: &site.events()?,
    };
    Ok(report.tables())
}

/// Fault after fault, until the time is up.
fn inject_all(args: &Args, site: &mut Site, supervisor: &mut Supervisor) -> Result<Vec<Injected>> {
    let start = Instant::now();
    let mut faults = Vec::new();
    for step in schedule(args.seed) {
        let left = args.minutes.saturating_sub(start.elapsed());
        if left <= step.after {
            interrupt::pause(left)?;
            break;
        }
        interrupt::pause(step.after)?;
        let at = start.elapsed();
        inject(step, site, supervisor)
            .with_context(|| format!("after a fault: {}", step.fault.name()))?;
        let back = start.elapsed().saturating_sub(at);
        terminal::line(format_args!(
            "    {:>6.1} s  {}, back after {:.1} s",
            at.as_secs_f64(),
            step.fault.name(),
            back.as_secs_f64()
        ));
        faults.push(Injected {
            at,
            fault: step.fault,
            back,
        });
    }
    Ok(faults)
}

/// Injects one, and repairs it.
fn inject(step: Step, site: &mut Site, supervisor: &mut Supervisor) -> Result<()> {
    match step.fault {
        Fault::ApiServer => {
            site.api.crash();
            interrupt::pause(step.away)?;
            site.api.restart()
        }
        Fault::Containerd => {
            site.containerd.crash();
            interrupt::pause(step.away)?;
            site.containerd.restart()
        }
        Fault::AgentTerm | Fault::AgentKill => {
            let end = match step.fault {
                Fault::AgentKill => Agent::crash,
                _ => Agent::end,
            };
            supervisor.end(end)?;
            interrupt::pause(step.away)?;
            supervisor.start(site)
        }
        Fault::AgentWithoutApi => {
            site.api.crash();
            // So that Events are pending by then.
            interrupt::pause(PACE * 4)?;
            supervisor.end(Agent::end)?;
            interrupt::pause(step.away)?;
            supervisor.start(site)?;
            site.api.restart()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_may_have_a_part() {
        assert_eq!(minutes("1.5"), Ok(Duration::from_secs(90)));
        for refused in ["0", "-1", "x", "1e9"] {
            assert!(minutes(refused).is_err(), "{refused}");
        }
    }
}
