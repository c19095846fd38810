#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a helper of tests may panic")]

//! Each connection is an open file.

mod common;

use std::fs;
use std::process::Stdio;

use common::program::{Running, program};
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// A shell sets the limits, then becomes the program.
async fn limited(limits: &str) -> Running {
    let bonker = program(&[]);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("{limits} && exec \"$0\" \"$@\"")])
        .arg(bonker.as_std().get_program())
        .args(["serve", "--listen", "127.0.0.1:0", "--backend", "null"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = shell.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut running = Running { child, lines };
    assert!(running.line().await.starts_with("listening on "));
    running
}

/// The soft and the hard limit, of proc(5)'s `limits`.
fn limits(running: &Running) -> (u64, u64) {
    let limits = format!("/proc/{}/limits", running.child.id().unwrap());
    let limits = fs::read_to_string(limits).unwrap();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let mut words = line.unwrap().split_whitespace();
    let mut next = || words.next().unwrap().parse().unwrap_or(u64::MAX);
    (next(), next())
}

#[tokio::test]
async fn the_limit_of_files_is_raised_to_what_the_connections_need() {
    let running = limited("ulimit -Sn 256").await;
    let (soft, hard) = limits(&running);
    assert_eq!(soft, hard.min(8192 + 1088), "of {hard}");
    let (status, _) = running.stop(Signal::TERM).await;
    assert!(status.success());
}

#[tokio::test]
async fn a_hard_limit_that_is_too_low_is_logged() {
    let running = limited("ulimit -Sn 256 && ulimit -Hn 1000").await;
    assert_eq!(limits(&running), (1000, 1000));
    let (status, _, output) = running.end(Signal::TERM).await;
    assert!(status.success());
    for part in ["lower than --max-connections", "most=1000", "LimitNOFILE"] {
        assert!(output.contains(part), "{part}: {output}");
    }
}
