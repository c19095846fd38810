//! A process that heeds a sidecar's signals lives; the same one without a sidecar dies.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use xtask::process::stop;

use super::twins::{Twins, check_it_heeds_signals};
use crate::guest::scene::Scene;
use crate::output::Output;
use crate::wait::HANG;

/// `oom-agent sidecar --cgroup`; dropping it ends it.
struct Sidecar(Child);

impl Drop for Sidecar {
    fn drop(&mut self) {
        stop(&mut self.0, Duration::ZERO);
    }
}

pub(super) fn sidecar(scene: &mut Scene) -> Result<Value> {
    let twins = Twins::create(30)?;
    let mut warned = twins.start_warned()?;
    let child = Command::new("/bin/oom-agent")
        .args(["sidecar", "--cgroup", &twins.warned.dir().to_string_lossy()])
        .args(["--http-listen", "127.0.0.1:0"])
        .stderr(Stdio::piped())
        .spawn()
        .context("start a sidecar")?;
    let mut sidecar = Sidecar(child);
    let log = sidecar.0.stderr.take().context("a piped standard error")?;
    let mut log = Output::new("sidecar", log);
    log.find("that it watches", HANG, |line| {
        line.contains("watching").then_some(())
    })?;
    check_it_heeds_signals(warned.first()?)?;
    drop(sidecar);
    twins.kill_unwarned(scene)
}
