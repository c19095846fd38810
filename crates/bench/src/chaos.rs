//! `cargo xtask bench chaos`: what is told of kills while everything around is killed, too.

mod account;
mod crew;
mod lives;
mod report;
mod schedule;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lab::{interrupt, wait};
use xtask::process::is_root;
use xtask::say;

use super::checks::Checks;
use super::flood::Look;
use super::machine::Machine;
use super::mill::{Mill, Plan};
use super::pause;
use super::site::{Built, Site, write_page};
use account::Account;
use crew::{Crew, End, Keeps};
use report::{Done, Report, page, tables};
use schedule::{Blow, Schedule, Step};

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

/// Sets up, strikes, compares; fails where a promise is broken.
pub(super) fn main(args: &Args) -> Result<()> {
    if !is_root() {
        bail!(
            "the benchmark needs root, to load eBPF programs and to make cgroups with a memory limit: \
             run `cargo xtask bench chaos` as root"
        );
    }
    interrupt::catch()?;
    let programs = args.built.programs()?;
    let mut site = Site::start(programs, args.built.consent())?;
    let report = measure(args, &mut site)?;
    say::line(format_args!("\n{}", tables(&report)));
    if args.write {
        write_page("chaos.md", &page(&report))?;
    }
    let broken = report.checks.broken();
    if !broken.is_empty() {
        bail!("broken: {}", broken.join("; "));
    }
    Ok(())
}

fn measure(args: &Args, site: &mut Site) -> Result<Report> {
    say::step(format_args!("starting {PODS} containers and an agent"));
    let mut pods = Vec::new();
    let mut contained = Vec::new();
    let slow = Plan {
        kills: IN_POD,
        pause: args.minutes / IN_POD,
    };
    for n in 0..PODS {
        let pod = site.pod(&format!("hungry-{n}"))?;
        interrupt::check()?;
        contained.push(Mill::contained(&site.containerd, &pod, slow)?);
        pods.push(Site::object(&pod.name));
    }
    let steady = Plan {
        kills: u32::MAX,
        pause: PACE,
    };
    let mut plain = (0..PLAIN)
        .map(|_| Mill::plain(steady))
        .collect::<Result<Vec<_>>>()?;
    let mut crew = Crew::new(Keeps::of(site)?);
    crew.start(site)?;
    for mill in contained.iter_mut().chain(&mut plain) {
        mill.go()?;
    }

    say::step(format_args!(
        "striking for {:?}, seed {}",
        args.minutes, args.seed
    ));
    let done = strike(args, site, &mut crew)?;

    say::step("letting everything come to an end");
    for mill in contained.iter().chain(&plain) {
        mill.stop()?;
    }
    for mill in contained.iter().chain(&plain) {
        mill.finish(FOLLOW)?;
    }
    let admin = crew.admin()?;
    let _late = wait::until("an answer to everything", FOLLOW, || {
        let look = Look::at(admin).ok()?;
        (look.pending() == 0 || interrupt::check().is_err()).then_some(())
    });
    interrupt::check()?;
    crew.end(End::Term)?;

    let mut in_pods = Vec::new();
    for mill in &contained {
        in_pods.extend(mill.struck()?);
    }
    let mut on_node = Vec::new();
    for mill in &plain {
        on_node.extend(mill.struck()?);
    }
    let lives = &crew.lives;
    let account = Account {
        in_pods: &in_pods,
        on_node: &on_node,
        pods: &pods,
        lives,
        events: &site.events()?,
        keeps_ring: crew.keeps.pin.is_some(),
        keeps_events: crew.keeps.state.is_some(),
    };
    let mut checks = Checks::default();
    Ok(Report {
        machine: Machine::here()?,
        length: args.minutes,
        keeps_ring: account.keeps_ring,
        keeps_events: account.keeps_events,
        lives: lives.len() as u64,
        torn: lives.iter().map(|life| life.torn).sum(),
        done,
        rows: account.rows(&mut checks),
        events: account.events(&mut checks),
        bonks: account.bonks(),
        checks,
    })
}

/// Blow after blow, until the time is up.
fn strike(args: &Args, site: &mut Site, crew: &mut Crew) -> Result<Vec<Done>> {
    let start = Instant::now();
    let mut done = Vec::new();
    for step in Schedule::new(args.seed) {
        let left = args.minutes.saturating_sub(start.elapsed());
        if left <= step.after {
            pause(left)?;
            break;
        }
        pause(step.after)?;
        let at = start.elapsed();
        make(step, site, crew).with_context(|| format!("after a blow: {}", step.blow.name()))?;
        let back = start.elapsed().saturating_sub(at);
        say::line(format_args!(
            "    {:>6.1} s  {}, back after {:.1} s",
            at.as_secs_f64(),
            step.blow.name(),
            back.as_secs_f64()
        ));
        done.push(Done {
            at,
            blow: step.blow,
            back,
        });
    }
    Ok(done)
}

/// Strikes, and makes it good again.
fn make(step: Step, site: &mut Site, crew: &mut Crew) -> Result<()> {
    match step.blow {
        Blow::ApiServer => {
            site.api.crash();
            pause(step.away)?;
            site.api.restart()
        }
        Blow::Containerd => {
            site.containerd.crash();
            pause(step.away)?;
            site.containerd.restart()
        }
        Blow::AgentTerm | Blow::AgentKill => {
            let how = if step.blow == Blow::AgentTerm {
                End::Term
            } else {
                End::Kill
            };
            crew.end(how)?;
            pause(step.away)?;
            crew.start(site)
        }
        Blow::AgentWithoutApi => {
            site.api.crash();
            // So that something is owed by then.
            pause(PACE * 4)?;
            crew.end(End::Term)?;
            pause(step.away)?;
            crew.start(site)?;
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
