//! Other processes than a container's first one, and many.

use std::thread;

use anyhow::Result;
use serde_json::Value;

use super::{CHILD_DIED, DIED, EATS, IDLES, LIMIT, MIB};
use crate::guest::node::host::ctr;
use crate::guest::node::kubelet::{ContainerPlan, PodPlan, hog};
use crate::guest::node::stage::{Kill, Stage};
use crate::guest::scene::Story;

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
