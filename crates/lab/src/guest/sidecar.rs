//! A process that heeds what a sidecar signals lives; the same one without a sidecar dies.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use xtask::process::stop;

use super::careful::{Twins, lives_by_its_signals};
use super::process::SOON;
use super::scene::Scene;
use crate::Output;

/// `oom-agent sidecar --cgroup`; dropping it ends it.
struct Sidecar(Child);

impl Drop for Sidecar {
    fn drop(&mut self) {
        stop(&mut self.0, Duration::ZERO);
    }
}

pub(super) fn sidecar(scene: &mut Scene) -> Result<Value> {
    let twins = Twins::of_pod(30)?;
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
    log.find("that it watches", SOON, |line| {
        line.contains("watching").then_some(())
    })?;
    lives_by_its_signals(warned.first()?)?;
    drop(sidecar);
    twins.unwarned_dies(scene)
}
