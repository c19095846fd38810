//! Other processes than a container's first one, and many.

use std::thread;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{CHILD_DIED, DIED, EATS, IDLES, LIMIT, MIB};
use crate::guest::node::host::ctr;
use crate::guest::node::kubelet::{ContainerPlan, PodPlan, hog};
use crate::guest::node::stage::{Kill, Note, Stage};
use crate::guest::scene::Story;

/// Beside the first one.
const MANY: u32 = 300;

/// Somebody eats in a container by `kubectl exec`.
pub(super) fn executed_process(stage: &mut Stage) -> Result<Value> {
    let containers = [ContainerPlan::new("main", Some(LIMIT), IDLES).single()];
    let pod = stage.kubelet.run(PodPlan::new(&containers))?;
    let main = stage.kubelet.start_container(&pod, "main")?;
    let script = hog(1, EATS);
    let id = main.id.clone();
    let executed = thread::spawn(move || {
        // It ends as its process does.
        ctr(&[
            "tasks",
            "exec",
            "--exec-id",
            "exec",
            &id,
            "/bin/sh",
            "-c",
            &script,
        ])
    });
    let mut hog = main.hog(1)?;
    let victims = [main.facts_of(main.other()?)?];
    let story = Story {
        scope: "container",
        limit_bytes: Some(LIMIT),
        limit_cgroup: Some(&pod.group.path),
        outcome: "child-died",
        trigger: victims.first().map(|victim| victim.pid),
        victims: &victims,
    };
    let kill = Kill {
        story,
        more: vec![main.setting(LIMIT), main.holder(MIB, Some(LIMIT))],
        notes: vec![pod.note(CHILD_DIED)],
    };
    let told = stage.play(&kill, || hog.go())?;
    drop(executed.join());
    stage.kubelet.remove(&pod)?;
    Ok(told)
}

/// A child of the first process eats; `single`: it alone is killed.
pub(super) fn child(stage: &mut Stage, single: bool) -> Result<Value> {
    let script = hog(0, "--mib 4096 --child --hold");
    let plan = ContainerPlan::new("main", Some(LIMIT), &script);
    let containers = [if single { plan.single() } else { plan }];
    let pod = stage.kubelet.run(PodPlan::new(&containers))?;
    let main = stage.kubelet.start_container(&pod, "main")?;
    let mut hog = main.hog(0)?;
    let child = main.facts_of(main.other()?)?;
    let trigger = child.pid;
    let victims = if single {
        vec![child]
    } else {
        vec![main.facts()?, child]
    };
    let story = Story {
        scope: "container",
        limit_bytes: Some(LIMIT),
        limit_cgroup: Some(&pod.group.path),
        outcome: if single {
            "child-died"
        } else {
            "container-died"
        },
        trigger: Some(trigger),
        victims: &victims,
    };
    let note = if single { CHILD_DIED } else { DIED };
    let kill = Kill {
        story,
        more: vec![main.setting(LIMIT), main.holder(MIB, Some(LIMIT))],
        notes: vec![pod.note(note)],
    };
    let told = stage.play(&kill, || hog.go())?;
    stage.kubelet.remove(&pod)?;
    Ok(told)
}

/// As a web server's or a database's container: all are killed together.
pub(super) fn many_processes(stage: &mut Stage) -> Result<Value> {
    let eats = hog(0, EATS);
    let script = format!("for i in $(seq {MANY}); do sleep 1000 & done; {eats}");
    let containers = [ContainerPlan::new("main", Some(2 * LIMIT), &script)];
    let pod = stage.kubelet.run(PodPlan::new(&containers))?;
    let main = stage.kubelet.start_container(&pod, "main")?;
    let mut hog = main.hog(0)?;
    let victims = main.all()?.into_iter().map(|pid| main.facts_of(pid));
    let victims = victims.collect::<Result<Vec<_>>>()?;
    let story = Story {
        scope: "container",
        limit_bytes: Some(2 * LIMIT),
        limit_cgroup: Some(&pod.group.path),
        outcome: "container-died",
        trigger: Some(main.pid),
        victims: &victims,
    };
    let note = Note {
        first: &["main", "96 MiB"],
        says: &["300 more"],
        next: "raise main's resources.limits.memory above 96 MiB",
        ..DIED
    };
    let kill = Kill {
        story,
        more: vec![
            main.setting(2 * LIMIT),
            main.holder(MIB, Some(2 * LIMIT)),
            ("victim_count", json!(victims.len())),
        ],
        notes: vec![pod.note(note)],
    };
    let mut told = stage.play(&kill, || hog.go())?;
    // As many are listed.
    let listed = told.pointer_mut("/expected/incident/victims");
    let listed = listed.and_then(Value::as_array_mut);
    listed.context("what is expected")?.truncate(256);
    stage.kubelet.remove(&pod)?;
    Ok(told)
}
