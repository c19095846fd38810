//! bonker-gpio as it is shipped, on an emulated Raspberry Pi: bonked over gRPC from outside, its
//! pin's pulses read from the emulator.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test, in helpers too"
)]

mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

use support::{MIB, SOON, agent_bin, binary, bonker_bin, text};
use xtask::cross::Board;
use xtask::lab::{Agent, Cache, Cgroup, Consent, Debian, Pi, PiParts, Run, runs};
use xtask::process::capture;

/// The default calibration, in µs.
const REST: u64 = 1000;
const STRIKE: u64 = 2000;

/// Many frames of 20 ms.
const LONG: Duration = Duration::from_secs(1);

/// An emulated CPU among busy ones; some 2 s for a swing on an idle machine.
const PATIENCE: Duration = Duration::from_mins(1);

fn start(board: Board, args: &[&str]) -> Pi {
    let debian = Debian::new(Consent::Ask).unwrap();
    let parts = PiParts::prepare(&Cache::open().unwrap(), debian).unwrap();
    let binary = binary(match board {
        Board::Aarch64 => "BONKER_GPIO_AARCH64_BIN",
        Board::Armv6 => "BONKER_GPIO_ARMV6_BIN",
    });
    Pi::start(&parts, board, &binary, args).unwrap()
}

/// What a subcommand of this host's bonker-gpio prints.
fn ask(args: &[&str]) -> String {
    capture(Command::new(bonker_bin()).args(args)).unwrap()
}

/// That line of its log, within patience.
fn logged(pi: &mut Pi, words: &str) {
    let found = |line: &str| line.contains(words).then_some(());
    pi.serial.find(words, PATIENCE, found).unwrap();
}

/// The positions that were asked for since pulse number `from`.
fn positions(pi: &Pi, from: usize) -> Vec<Run> {
    let pulses = pi.pulses();
    let runs = runs(&pulses[from..], &[REST, STRIKE]);
    for run in &runs {
        println!(
            "{} pulses of {} µs, {} µs in the median",
            run.pulses, run.nominal_us, run.median_us
        );
        assert!(
            run.median_us.abs_diff(run.nominal_us) <= run.nominal_us / 8,
            "{run:?} of {pulses:?}"
        );
    }
    runs
}

fn nominals(runs: &[Run]) -> Vec<u64> {
    runs.iter().map(|run| run.nominal_us).collect()
}

/// The pulses have ended, between two of them.
fn assert_detached(pi: &Pi) {
    assert!(pi.rests_for(LONG), "there are still pulses");
    assert!(!pi.is_high(), "the last pulse does not end");
}

/// What `--version` printed in there.
fn assert_version(pi: &mut Pi) {
    let version = format!("bonker-gpio {}", env!("CARGO_PKG_VERSION"));
    logged(pi, &version);
}

/// Bonks it over gRPC, and waits for the end of the swing.
fn bonk(pi: &mut Pi) {
    let answer = ask(&["bonk", "--to", &pi.url(), "--namespace", "shop"]);
    assert!(answer.starts_with("ACCEPTED"), "{answer}");
    logged(pi, "bonked");
    let status = ask(&["status", "--from", &pi.url()]);
    assert!(status.contains("backend: rppal"), "{status}");
    assert!(status.contains("swings: 1"), "{status}");
}

#[test]
fn a_bonk_from_outside_moves_the_pin() {
    let mut pi = start(Board::Aarch64, &["--backend", "rppal"]);
    assert_version(&mut pi);
    // At the ready line the boot motion is over.
    let booted = pi.pulses().len();
    assert_eq!(nominals(&positions(&pi, 0)), [REST]);
    assert_detached(&pi);
    assert_eq!(pi.pulses().len(), booted, "it was ready before it rested");
    bonk(&mut pi);
    assert_eq!(nominals(&positions(&pi, booted)), [STRIKE, REST]);
    assert_detached(&pi);
}

/// The Pi 1 of the original, and the Zero. Its emulator's time is not the host's, so that the
/// pulses can be seen and not be measured.
#[test]
fn armv6_moves_the_pin_too() {
    let mut pi = start(Board::Armv6, &["--backend", "rppal"]);
    assert_version(&mut pi);
    let booted = pi.pulses().len();
    assert!(booted > 0, "no boot motion");
    assert_detached(&pi);
    assert_eq!(pi.pulses().len(), booted, "it was ready before it rested");
    bonk(&mut pi);
    assert!(pi.pulses().len() > booted, "no pulse for a bonk");
    assert_detached(&pi);
}

#[test]
fn an_oom_kill_moves_the_pin() {
    let mut pi = start(Board::Aarch64, &["--backend", "rppal"]);
    let booted = pi.pulses().len();
    // Others' kills on this machine are bonked for, too.
    let mut agent = Agent::start(
        &agent_bin(),
        &["--no-kubernetes", "--bonker", &pi.url()],
        &[],
    )
    .unwrap();
    let cgroup = Cgroup::new(64 * MIB).unwrap();
    let mut victim = cgroup
        .command("tail")
        .arg("/dev/zero")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let incident = agent.incident_of(victim.id(), SOON).unwrap();
    victim.wait().unwrap();
    let id = text(&incident, "/id");
    agent.acknowledgement(id, PATIENCE).unwrap();
    logged(&mut pi, id);
    let moved = nominals(&positions(&pi, booted));
    assert!(moved.starts_with(&[STRIKE, REST]), "{moved:?}");
}
