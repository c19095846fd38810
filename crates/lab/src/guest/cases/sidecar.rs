//! A process that acts on a sidecar's signals lives; the same one without a sidecar dies.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use xtask::process::Guard;

use super::twins::{Twins, check_it_acts_on_signals};
use crate::guest::scene::Scene;
use crate::output::Output;
use crate::wait::HANG;

pub(super) fn sidecar(scene: &mut Scene) -> Result<Value> {
    let twins = Twins::create(30)?;
    let mut warned = twins.start_warned()?;
    let mut command = Command::new("/bin/oom-agent");
    command
        .args(["sidecar", "--cgroup", &twins.warned.dir().to_string_lossy()])
        .args(["--http-listen", "127.0.0.1:0"])
        .stderr(Stdio::piped());
    let mut sidecar = Guard::spawn(&mut command, Duration::ZERO)?;
    let log = sidecar.stderr.take().context("a piped standard error")?;
    let mut log = Output::new("sidecar", log);
    log.find("that it watches", HANG, |line| {
        line.contains("watching").then_some(())
    })?;
    check_it_acts_on_signals(&mut warned)?;
    drop(sidecar);
    twins.kill_unwarned(scene)
}
