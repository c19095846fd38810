//! The tiers and how each is run.

use std::fmt;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};

use super::lint;
use super::report::{Outcome, counts};
use crate::binaries::{GUEST, build_static};
use crate::cross::{self, Board};
use crate::debian::Consent;
use crate::process::{self, is_root, wait_timeout};
use crate::toolchain::Choice;
use crate::{binaries, build_ebpf, image, terminal, workspace};

/// A set of tests that need the same things, in the order they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tier {
    /// Format, clippy, each program by itself, licences.
    Lint,
    /// What needs nothing but cargo.
    Unit,
    /// This machine's kernel.
    Kernel,
    /// Other kernels, in virtual machines.
    Qemu,
    /// A Kubernetes node as people have it, in a virtual machine.
    Node,
    /// bonker-gpio on emulated Raspberry Pis.
    Pi,
    /// A real containerd.
    Containerd,
    /// A real Prometheus, too: alerts and dashboard.
    Prometheus,
    /// A real Alertmanager behind a real Prometheus, and the bonker as its receiver.
    Alertmanager,
    /// A real API server beside it.
    Kubernetes,
    /// A whole Kubernetes, with the manifest as shipped.
    Cluster,
    /// A real browser in front of the bonker's page.
    Browser,
    /// `cargo xtask demo`.
    Demo,
}

impl Tier {
    pub(super) fn needs_root(self) -> bool {
        !matches!(self, Self::Lint | Self::Unit)
    }

    /// Whether its tests are a target of the lab's.
    pub(super) fn has_target(self) -> bool {
        !matches!(self, Self::Lint | Self::Unit | Self::Demo)
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().ok_or(fmt::Error)?;
        f.write_str(value.get_name())
    }
}

/// Runs a tier, all that it needs built and set up first.
pub(super) fn run(tier: Tier, consent: Consent) -> Result<Outcome> {
    if tier.needs_root() && !is_root() {
        return Ok(Outcome::Skipped("it needs root".into()));
    }
    let yes = consent == Consent::Given;
    let toolchain = Choice::Auto;
    // Everything that compiles the agent wants the object, the linter too.
    build_ebpf::main(build_ebpf::Args { yes, toolchain })?;
    let mut tests = workspace::cargo();
    tests.args(["test", "--workspace", "--quiet"]);
    if tier.has_target() {
        let programs = binaries::build()?;
        let mut prepare = Command::new(programs.join("lab"));
        prepare.args(["prepare", &tier.to_string()]);
        process::run(prepare.args(yes.then_some("--yes")))?;
        tests
            .args(["--test", &tier.to_string()])
            .env("OOM_AGENT_BIN", programs.join("oom-agent"))
            .env("BONKER_GPIO_BIN", programs.join("bonker-gpio"));
    }
    match tier {
        Tier::Lint => return lint::run_all(),
        Tier::Demo => {
            // As in the README; this program's file may be another by now.
            let mut demo = workspace::cargo();
            let status = demo.args(["xtask", "demo", "--yes"]).status();
            let good = status.context("start the demo")?.success();
            return Ok(Outcome::of_checks(&[good]));
        }
        Tier::Unit => {}
        // In virtual machines.
        Tier::Qemu | Tier::Node => {
            let programs = build_static(GUEST, &["oom-agent", "lab"])?;
            tests
                .env("OOM_AGENT_STATIC_BIN", programs.join("oom-agent"))
                .env("LAB_STATIC_BIN", programs.join("lab"));
        }
        // In containers; their measurements are to be read.
        Tier::Cluster => {
            let programs = build_static(GUEST, &["oom-agent", "lab"])?;
            for (packed, variable) in [
                (image::AGENT, "OOM_AGENT_IMAGE"),
                (image::SIDECAR, "OOM_AGENT_SIDECAR_IMAGE"),
                (image::BLOAT, "BLOAT_IMAGE"),
            ] {
                let out = programs.join(packed.file()).with_extension("tar");
                packed.pack(&programs.join(packed.program), &out)?;
                tests.env(variable, out);
            }
            tests.args(["--", "--nocapture"]);
        }
        // On another architecture.
        Tier::Pi => {
            let pi = |board| cross::bonker(board, Choice::Auto, consent);
            tests
                .env("BONKER_GPIO_AARCH64_BIN", pi(Board::Aarch64)?)
                .env("BONKER_GPIO_ARMV6_BIN", pi(Board::Armv6)?);
        }
        // One test at a time: each makes the kernel kill.
        Tier::Kernel
        | Tier::Containerd
        | Tier::Prometheus
        | Tier::Alertmanager
        | Tier::Kubernetes
        | Tier::Browser => {
            tests.args(["--", "--test-threads=1"]);
        }
    }
    libtest(&mut tests, LIMIT)
}

/// Only what hangs takes so long: a tier, what it compiles included.
const LIMIT: Duration = Duration::from_mins(30);

/// Given to the last lines of output once the tests have ended.
const REST: Duration = Duration::from_secs(10);

/// Runs `cargo test`, streams its output, and adds up its results.
fn libtest(command: &mut Command, limit: Duration) -> Result<Outcome> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("start cargo test")?;
    let out = child.stdout.take().context("a piped standard output")?;
    let (sender, totals) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            terminal::line(&line);
            let _ended = counts(&line).map(|counts| sender.send(counts));
        }
    });
    let status = wait_timeout(&mut child, limit)?;
    if status.is_none() {
        terminal::line(format_args!("!!! not done within {limit:?}: killed"));
        kill_tree(child.id());
        child.wait().context("wait for cargo test")?;
    }
    let (mut passed, mut failed) = (0_u32, 0_u32);
    let end = loop {
        match totals.recv_timeout(REST) {
            Ok((good, bad)) => {
                passed = passed.saturating_add(good);
                failed = failed.saturating_add(bad);
            }
            Err(end) => break end,
        }
    };
    if end == RecvTimeoutError::Timeout {
        terminal::line("!!! a process that a test has left behind holds its output");
        failed = failed.saturating_add(1);
    }
    if !status.is_some_and(|status| status.success()) && failed == 0 {
        // It did not compile, or a test process died: that is a failure, too.
        failed = 1;
    }
    Ok(Outcome::ran(passed, failed))
}

/// A process and all below it: in this one's group, so that Ctrl-C on the terminal ends them, too.
fn kill_tree(pid: u32) {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        // It may have ended by itself.
        let _ended = kill_process(pid, Signal::KILL);
    }
    let children = children.unwrap_or_default();
    let children = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok());
    children.for_each(kill_tree);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, limit: Duration) -> Outcome {
        libtest(Command::new("sh").args(["-c", script]), limit).unwrap()
    }

    #[test]
    fn what_hangs_and_what_is_left_behind_are_failures() {
        let ended = "echo 'test result: ok. 3 passed; 0 failed;'";
        assert_eq!(run(ended, LIMIT), Outcome::ran(3, 0));
        assert_eq!(run("exit 1", LIMIT), Outcome::ran(0, 1));
        let hangs = format!("{ended}; sleep 2147483647; true");
        assert_eq!(run(&hangs, Duration::from_secs(1)), Outcome::ran(3, 1));
        let left = format!("{ended}; sleep 20 &");
        assert_eq!(run(&left, LIMIT), Outcome::ran(3, 1));
    }
}
