//! Limits that are changed, and limits of swap.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use xtask::process::capture;

use super::first_process::Hungry;
use super::{DIED, EATS, LIMIT, MIB};
use crate::expect::{between, samples};
use crate::guest::node::kubelet::{ContainerPlan, PodPlan, hog};
use crate::guest::node::stage::{Kill, Note, Stage};
use crate::guest::scene::Story;

/// Somebody sets the limit of a running container to less than it uses.
pub(super) fn limit_lowered_below_usage(stage: &mut Stage) -> Result<Value> {
    let script = hog(0, "--mib 60 --hold");
    let containers = [ContainerPlan::new("main", Some(2 * LIMIT), &script)];
    let pod = stage.kubelet.run(PodPlan::new(&containers))?;
    let mut main = Hungry::start(stage, &pod, "main")?;
    main.hog.go()?;
    main.hog.said("touched")?;
    main.victims = vec![main.container.facts()?];
    let group = main.container.group.clone();
    let story = Story {
        scope: "container",
        limit_bytes: Some(LIMIT),
        limit_cgroup: Some(&group.path),
        outcome: "container-died",
        // It takes the memory back itself.
        trigger: Some(std::process::id()),
        victims: &main.victims,
    };
    let note = Note {
        first: &["main", "hog", "lowered", "48 MiB"],
        chars: 500,
        ..DIED
    };
    let kill = Kill {
        story,
        more: vec![("limit_lowered", json!(true))],
        notes: vec![pod.note(note)],
    };
    let mut told = stage.play(&kill, || group.set("memory.max", &LIMIT.to_string()))?;
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
        *told.pointer_mut(pointer).context("what is expected")? = value;
    }
    stage.kubelet.remove(&pod)?;
    Ok(told)
}

/// A container may swap, and fills that, too.
pub(super) fn swap_is_full_too(stage: &mut Stage) -> Result<Value> {
    let swap = Swap::on()?;
    let eats = hog(0, EATS);
    let containers = [ContainerPlan {
        swap: 16 * MIB,
        ..ContainerPlan::new("main", Some(LIMIT), &eats)
    }];
    let pod = stage.kubelet.run(PodPlan::new(&containers))?;
    let mut main = Hungry::start(stage, &pod, "main")?;
    let story = Story {
        scope: "container",
        limit_bytes: Some(LIMIT),
        limit_cgroup: Some(&pod.group.path),
        outcome: "container-died",
        trigger: Some(main.container.pid),
        victims: &main.victims,
    };
    let note = Note {
        says: &["Swap was full, too"],
        chars: 500,
        ..DIED
    };
    let kill = Kill {
        story,
        more: vec![
            main.container.setting(LIMIT),
            main.container.holder(MIB, Some(LIMIT)),
        ],
        notes: vec![pod.note(note)],
    };
    let told = stage.play(&kill, || main.hog.go())?;
    stage.kubelet.remove(&pod)?;
    drop(swap);
    Ok(told)
}

/// A file on the disk to swap to, until this is dropped.
struct Swap;

impl Swap {
    const AT: &str = "/var/swap";

    fn on() -> Result<Self> {
        capture(Command::new("/usr/bin/busybox").args([
            "dd",
            "if=/dev/zero",
            "bs=1M",
            "count=64",
            &format!("of={}", Self::AT),
        ]))?;
        capture(Command::new("/usr/bin/busybox").args(["mkswap", Self::AT]))?;
        capture(Command::new("/usr/bin/busybox").args(["swapon", Self::AT]))?;
        Ok(Self)
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        // A later case that finds it on says so.
        let _ = capture(Command::new("/usr/bin/busybox").args(["swapoff", Self::AT]));
    }
}
