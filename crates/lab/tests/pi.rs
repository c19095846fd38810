//! bonker-gpio as it is shipped, on an emulated Raspberry Pi: bonked over gRPC from outside, its
//! pin's pulses read from the emulator, by its own clock.

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

use lab::{Agent, Cgroup, Pi, PiParts, Run, runs};
use support::{MIB, agent_bin, binary, bonker_bin, text};
use xtask::cache::Cache;
use xtask::cross::Board;
use xtask::debian::{Consent, Debian};
use xtask::process::capture;

/// Pulses for rest and strike, in µs.
type Calibration = [u64; 2];

const DEFAULT: Calibration = [1000, 2000];

/// Many frames of 20 ms.
const LONG: Duration = Duration::from_secs(1);

/// Only a hang takes this long.
const PATIENCE: Duration = Duration::from_mins(5);

fn start(board: Board, args: &[&str]) -> Pi {
    let debian = Debian::new(Consent::Confirm).unwrap();
    let parts = PiParts::prepare(&Cache::open().unwrap(), debian).unwrap();
    let binary = binary(match board {
        Board::Aarch64 => "BONKER_GPIO_AARCH64_BIN",
        Board::Armv6 => "BONKER_GPIO_ARMV6_BIN",
    });
    Pi::start(&parts, board, &binary, args).unwrap()
}

/// What a subcommand of this host's bonker-gpio prints.
fn run_client(args: &[&str]) -> String {
    capture(Command::new(bonker_bin()).args(args)).unwrap()
}

/// That line of its log, within patience.
fn logged(pi: &mut Pi, words: &str) {
    let found = |line: &str| line.contains(words).then_some(());
    pi.serial.find(words, PATIENCE, found).unwrap();
}

/// How late pulses may end in the median, in µs. Software PWM ends one at the first reading of the
/// clock that is late enough: at 125 million instructions a second these are 3 µs apart on the Pi 1,
/// and 80 on the Pi 3, whose kernel keeps its memory apart from programs'. Packets come between.
fn latest_us(board: Board) -> u64 {
    match board {
        Board::Aarch64 => 150,
        Board::Armv6 => 50,
    }
}

/// The positions of the pulses since pulse number `from`.
fn positions(pi: &Pi, board: Board, from: usize, calibration: Calibration) -> Vec<Run> {
    let pulses = pi.pulses();
    let runs = runs(&pulses[from..], &calibration);
    for run in &runs {
        println!(
            "{} pulses of {} µs, {} µs in the median",
            run.pulses, run.nominal_us, run.median_us
        );
        assert!(
            (run.nominal_us - 5..=run.nominal_us + latest_us(board)).contains(&run.median_us),
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
    pi.wait_for_rest(LONG).unwrap();
    assert!(!pi.is_high(), "the last pulse does not end");
}

/// What `--version` printed in there.
fn assert_version(pi: &mut Pi) {
    let version = format!("bonker-gpio {}", env!("CARGO_PKG_VERSION"));
    logged(pi, &version);
}

/// Bonks it over gRPC, and waits for the end of the swing.
fn bonk(pi: &mut Pi) {
    let answer = run_client(&["bonk", "--to", &pi.url(), "--namespace", "shop"]);
    assert!(answer.starts_with("ACCEPTED"), "{answer}");
    logged(pi, "bonked");
    let status = run_client(&["status", "--from", &pi.url()]);
    assert!(status.contains("backend: rppal"), "{status}");
    assert!(status.contains("swings: 1"), "{status}");
}

/// The boot motion, and a bonk from outside.
fn check_bonk(board: Board, args: &[&str], calibration: Calibration) {
    let [rest, strike] = calibration;
    let mut pi = start(board, &[&["--backend", "rppal"], args].concat());
    assert_version(&mut pi);
    // At the ready line the boot motion is over.
    let booted = pi.pulses().len();
    assert_eq!(nominals(&positions(&pi, board, 0, calibration)), [rest]);
    assert_detached(&pi);
    assert_eq!(pi.pulses().len(), booted, "it was ready before it rested");
    bonk(&mut pi);
    assert_detached(&pi);
    let moved = positions(&pi, board, booted, calibration);
    assert_eq!(nominals(&moved), [strike, rest]);
}

#[test]
fn a_bonk_from_outside_moves_the_pin() {
    check_bonk(Board::Aarch64, &[], DEFAULT);
}

/// The Pi 1 of the original, and the Zero; calibrated, so that other pulses are seen as others.
#[test]
fn armv6_moves_the_pin_too() {
    let args = ["--rest-us", "1100", "--strike-us", "1800"];
    check_bonk(Board::Armv6, &args, [1100, 1800]);
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
    let incident = agent.incident_of(victim.id(), PATIENCE).unwrap();
    victim.wait().unwrap();
    let id = text(&incident, "/id");
    agent.acknowledgement(id, PATIENCE).unwrap();
    logged(&mut pi, id);
    assert_detached(&pi);
    let moved = nominals(&positions(&pi, Board::Aarch64, booted, DEFAULT));
    let [rest, strike] = DEFAULT;
    assert!(moved.starts_with(&[strike, rest]), "{moved:?}");
}
