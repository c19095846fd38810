//! Limits that are changed, and limits of swap.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use xtask::process::capture;

use super::first_process::Hungry;
use super::plans::{DIED, EATS, LIMIT};
use crate::expect::{between, samples};
use crate::guest::kill::ExpectedKill;
use crate::guest::node::event::ExpectedEvent;
use crate::guest::node::manifest::{ContainerPlan, PodPlan, hog};
use crate::guest::node::stage::{ExpectedReport, Stage};
use crate::guest::pods::MIB;

/// The limit of a running container is set to less than it uses.
pub(super) fn limit_lowered_below_usage(stage: &mut Stage) -> Result<Value> {
    let script = hog(0, "--mib 60 --hold");
    let containers = [ContainerPlan::new("main", Some(2 * LIMIT), &script)];
    let pod = stage.kubelet.run(PodPlan::new(&containers))?;
    let mut main = Hungry::start(stage, &pod, "main")?;
    main.hog.open_gate()?;
    main.hog.wait_for_line("touched")?;
    main.victims = vec![main.container.facts()?];
    let group = main.container.group.clone();
    let kill = ExpectedKill {
        // It takes the memory back itself.
        trigger: Some(std::process::id()),
        ..ExpectedKill::at_limit(("container", LIMIT, &group.path), &main.victims)
    };
    let event = ExpectedEvent {
        first: &["main", "hog", "lowered", "48 MiB"],
        chars: 500,
        ..DIED
    };
    let expected = ExpectedReport {
        kill,
        fields: vec![("limit_lowered", json!(true))],
        events: vec![pod.event(event)],
    };
    let mut outcome = stage.play(&expected, || group.set("memory.max", LIMIT))?;
    // Before the kill it had the other limit, and more in use.
    for (pointer, value) in [
        ("/expected/incident/memory/0/limit_bytes", json!(LIMIT)),
        (
            "/expected/incident/memory/0/usage_bytes",
            between(1, 2 * LIMIT),
        ),
        ("/expected/incident/before/limit_bytes", json!(LIMIT)),
        (
            "/expected/incident/before/samples",
            samples(2, LIMIT, 2 * LIMIT),
        ),
        (
            "/expected/incident/memory/0/peak_bytes",
            between(60 * MIB, 2 * LIMIT),
        ),
    ] {
        *outcome.pointer_mut(pointer).context("what is expected")? = value;
    }
    stage.kubelet.remove(&pod)?;
    Ok(outcome)
}

/// A container may swap, and fills that, too.
pub(super) fn swap_is_full_too(stage: &mut Stage) -> Result<Value> {
    let swap = Swap::turn_on()?;
    let eats = hog(0, EATS);
    let containers = [ContainerPlan {
        swap: 16 * MIB,
        ..ContainerPlan::new("main", Some(LIMIT), &eats)
    }];
    let pod = stage.kubelet.run(PodPlan::new(&containers))?;
    let mut main = Hungry::start(stage, &pod, "main")?;
    let kill = ExpectedKill::at_limit(("container", LIMIT, &pod.group.path), &main.victims);
    let event = ExpectedEvent {
        contains: &["Swap was full, too"],
        chars: 500,
        ..DIED
    };
    let expected = ExpectedReport {
        kill,
        fields: vec![
            main.container.setting(LIMIT),
            main.container.holder(MIB, Some(LIMIT)),
        ],
        events: vec![pod.event(event)],
    };
    let outcome = stage.play(&expected, || main.hog.open_gate())?;
    stage.kubelet.remove(&pod)?;
    drop(swap);
    Ok(outcome)
}

/// A file on the disk to swap to, until this is dropped.
struct Swap;

impl Swap {
    const AT: &str = "/var/swap";

    fn turn_on() -> Result<Self> {
        let to = format!("of={}", Self::AT);
        busybox(&["dd", "if=/dev/zero", "bs=1M", "count=64", &to])?;
        busybox(&["mkswap", Self::AT])?;
        busybox(&["swapon", Self::AT])?;
        Ok(Self)
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        // A later case that finds it on fails.
        let _ = busybox(&["swapoff", Self::AT]);
    }
}

fn busybox(args: &[&str]) -> Result<()> {
    capture(Command::new("/usr/bin/busybox").args(args)).map(drop)
}
