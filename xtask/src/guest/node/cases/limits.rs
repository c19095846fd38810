//! Limits that are changed.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::first_process::Hungry;
use super::{DIED, LIMIT, MIB};
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
