//! `cargo xtask demo`: the main job on this host, end to end: a real process is
//! OOM-killed, the agent names it, the bonker swings its simulated servo.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use xtask::binaries;
use xtask::process::{Guard, is_root};
use xtask::{build_ebpf, terminal};

use crate::agent::{Agent, Bonker, field, message, stamp, victim};
use crate::cgroup::Cgroup;
use crate::interrupt;
use crate::wait::HANG;

const LIMIT_MIB: u64 = 64;
/// Sets up, builds, and shows it; fails unless all of it happened.
pub fn main(args: build_ebpf::Args) -> Result<()> {
    if !is_root() {
        bail!(
            "the demo needs root, to load an eBPF program and to make a cgroup with a memory limit: \
             run `cargo xtask demo` as root"
        );
    }
    interrupt::catch()?;
    build_ebpf::main(args)?;
    interrupt::check()?;
    let programs = binaries::build()?;
    interrupt::check()?;
    show_kill(&programs)
}

fn show_kill(programs: &Path) -> Result<()> {
    terminal::step("starting a bonker with a simulated servo, and the agent");
    let mut bonker = Bonker::start(&programs.join("bonker-gpio"), &["--log-format", "json"])?;
    let mut agent = Agent::start(
        &programs.join("oom-agent"),
        &["--no-kubernetes", "--bonker", bonker.url()],
        &[],
    )?;
    terminal::line(format_args!(
        "    the bonker listens on {}, the agent's program is attached to this kernel",
        bonker.url()
    ));

    let cgroup = Cgroup::new(LIMIT_MIB << 20)?;
    let mut command = cgroup.command("tail");
    command
        .arg("/dev/zero")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    terminal::step(format_args!(
        "running `tail /dev/zero`, which needs endless memory, in a cgroup limited to {LIMIT_MIB} MiB"
    ));
    let start = Instant::now();
    let tail = Guard::spawn(&mut command, Duration::ZERO)?;

    let (reported, incident) = agent
        .incidents
        .find_at("incident in our cgroup", HANG, |line| {
            let incident: Value = serde_json::from_str(line).ok()?;
            (victim(&incident)?.get("cgroup")? == cgroup.path()).then_some(incident)
        })?;
    let id = text(&incident, "/id").to_owned();
    if incident.pointer("/victims/0/pid").and_then(Value::as_u64) != Some(u64::from(tail.id())) {
        bail!(
            "the incident names another process than {}: {incident}",
            tail.id()
        );
    }
    let (acked, ack) = agent.log.find_at("acknowledgement", HANG, |line| {
        let ours = field(line, "message")? == "bonk acknowledged" && field(line, "incident")? == id;
        ours.then(|| (field(line, "outcome"), field(line, "latency_us")))
    })?;
    let mut swing = Swing::default();
    let (rested, ()) = bonker
        .log
        .find_at("swing that ends at rest", HANG, |line| swing.add(line))?;

    let (outcome, latency) = ack;
    let latency = latency
        .and_then(|latency| latency.parse().ok())
        .map(Duration::from_micros)
        .context("an acknowledgement with its latency")?;
    let marked = stamp(&id).unwrap_or(start);
    let after = |instant: Instant| {
        let elapsed = instant.saturating_duration_since(marked);
        format!("{:>7.1} ms", elapsed.as_secs_f64() * 1000.0)
    };

    terminal::step("it happened");
    terminal::line(format_args!(
        "    {}  the kernel chose its victim, at {}",
        after(marked),
        text(&incident, "/time")
    ));
    terminal::line(format_args!(
        "    {}  the agent reported the incident:",
        after(reported)
    ));
    for line in describe(&incident) {
        terminal::line(format_args!("                {line}"));
    }
    terminal::line(format_args!(
        "    {}  the bonker's answer had reached the agent: {}",
        after(acked),
        outcome.unwrap_or_default()
    ));
    terminal::line(format_args!(
        "    {}  the servo was at rest again, after these steps:",
        after(rested)
    ));
    for (pulse, hold) in &swing.steps {
        terminal::line(format_args!(
            "                {pulse} µs, held for {hold} ms"
        ));
    }
    terminal::line("");
    terminal::line(format_args!(
        "From the kernel's stamp to the bonker's acknowledgement: {:.2} ms.",
        latency.as_secs_f64() * 1000.0
    ));
    Ok(())
}

/// The steps of one swing, read from the bonker's log: away from rest and back.
#[derive(Debug, Default)]
struct Swing {
    /// The pulse at rest, which the arm takes as it starts.
    rest: Option<String>,
    steps: Vec<(String, String)>,
}

impl Swing {
    /// Some once a swing is complete.
    fn add(&mut self, line: &str) -> Option<()> {
        (message(line)? == "swing step").then_some(())?;
        let (pulse, hold) = (field(line, "pulse_us")?, field(line, "hold_ms")?);
        let at_rest = self.rest.get_or_insert_with(|| pulse.clone()) == &pulse;
        if at_rest && self.steps.is_empty() {
            return None;
        }
        self.steps.push((pulse, hold));
        at_rest.then_some(())
    }
}

fn describe(incident: &Value) -> Vec<String> {
    let mib = |kind: &str| {
        let bytes = incident.pointer(&format!("/victims/0/rss_bytes/{kind}"));
        let bytes = bytes.and_then(Value::as_u64);
        bytes.map_or_else(|| "?".to_owned(), |bytes| format!("{} MiB", bytes >> 20))
    };
    let value = |pointer: &str| incident.pointer(pointer).map(Value::to_string);
    let value = |pointer: &str| value(pointer).unwrap_or_default();
    vec![
        format!(
            "victim   process {}, {}",
            value("/victims/0/pid"),
            value("/victims/0/comm")
        ),
        format!("cmdline  {}", value("/victims/0/cmdline")),
        format!(
            "memory   {} anonymous, {} of files",
            mib("anon"),
            mib("file")
        ),
        format!("cgroup   {}", value("/victims/0/cgroup")),
        format!(
            "trigger  process {}, {}",
            value("/trigger/pid"),
            value("/trigger/comm")
        ),
        format!("node     {}", value("/node")),
    ]
}

fn text<'a>(incident: &'a Value, pointer: &str) -> &'a str {
    incident
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swing_leaves_rest_and_returns() {
        let mut swing = Swing::default();
        for (line, complete) in [
            (
                r#"{"fields":{"message":"swing step","pulse_us":1000,"hold_ms":300}}"#,
                false,
            ),
            (r#"{"fields":{"message":"bonk","swings":1}}"#, false),
            (
                r#"{"fields":{"message":"swing step","pulse_us":1800,"hold_ms":150}}"#,
                false,
            ),
            (
                r#"{"fields":{"message":"swing step","pulse_us":1000,"hold_ms":300}}"#,
                true,
            ),
        ] {
            assert_eq!(swing.add(line).is_some(), complete, "{line}");
        }
        let step = |pulse: &str, hold: &str| (pulse.to_owned(), hold.to_owned());
        assert_eq!(swing.steps, [step("1800", "150"), step("1000", "300")]);
    }
}
