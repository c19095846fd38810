//! A process that heeds what a sidecar signals lives; the same one without a sidecar dies.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::pods::Group;
use super::process::{Plan, SOON, start};
use super::scene::{Scene, Story};
use crate::lab::Output;
use crate::process::stop;

const LIMIT: u64 = 64 << 20;
const CAREFUL: [&str; 6] = ["--mib", "200", "--gate", "--hold", "--careful", "50"];

/// `oom-agent sidecar --cgroup`; dropping it ends it.
struct Sidecar(Child);

impl Drop for Sidecar {
    fn drop(&mut self) {
        stop(&mut self.0, Duration::ZERO);
    }
}

pub(super) fn sidecar(scene: &mut Scene) -> Result<Value> {
    let pod = Group::burstable()?.pod(30)?;
    let (first, second) = (
        pod.container(30)?.limit(LIMIT)?,
        pod.container(31)?.limit(LIMIT)?,
    );
    let plan = |group| Plan {
        group,
        args: &CAREFUL,
        uid: 1000,
        oom_score_adj: 0,
    };
    let mut warned = start(&[plan(&first)])?;
    let warned = warned.first()?;
    let child = Command::new("/bin/oom-agent")
        .args(["sidecar", "--cgroup", &first.dir().to_string_lossy()])
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
    warned.go()?;
    for said in ["growing", "warned at", "let go at", "touched 0 MiB"] {
        warned.said(said)?;
    }
    warned.lives()?;
    let mut unwarned = start(&[plan(&second)])?;
    let unwarned = unwarned.first()?;
    let victims = [unwarned.facts()?];
    let story = Story {
        scope: "container",
        limit_bytes: Some(LIMIT),
        limit_cgroup: Some(&second.path),
        outcome: "container-died",
        trigger: victims.first().map(|victim| victim.pid),
        victims: &victims,
    };
    scene.play(&story, || unwarned.go())
}
