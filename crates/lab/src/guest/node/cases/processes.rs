//! Other processes than a container's first one, and many.

use std::thread;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::plans::{CHILD_DIED, DIED, EATS, IDLES, LIMIT};
use crate::guest::kill::ExpectedKill;
use crate::guest::node::event::ExpectedEvent;
use crate::guest::node::host::ctr;
use crate::guest::node::manifest::{ContainerPlan, PodPlan, hog};
use crate::guest::node::stage::{ExpectedReport, Stage};
use crate::guest::pods::MIB;

/// Beside the first one.
const MANY: u32 = 300;

/// A process eats that was started by `kubectl exec`.
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
    let victims = [main.facts_of(main.other_pid()?)?];
    let expected = ExpectedReport {
        kill: ExpectedKill {
            outcome: "child-died",
            ..ExpectedKill::at_limit(("container", LIMIT, &pod.group.path), &victims)
        },
        fields: vec![main.setting(LIMIT), main.holder(MIB, Some(LIMIT))],
        events: vec![pod.event(CHILD_DIED)],
    };
    let outcome = stage.play(&expected, || hog.open_gate())?;
    drop(executed.join());
    stage.kubelet.remove(&pod)?;
    Ok(outcome)
}

/// A child of the first process eats; `single`: it alone is killed.
pub(super) fn child(stage: &mut Stage, single: bool) -> Result<Value> {
    let script = hog(0, "--mib 4096 --child --hold");
    let plan = ContainerPlan::new("main", Some(LIMIT), &script);
    let containers = [if single { plan.single() } else { plan }];
    let pod = stage.kubelet.run(PodPlan::new(&containers))?;
    let main = stage.kubelet.start_container(&pod, "main")?;
    let mut hog = main.hog(0)?;
    let child = main.facts_of(main.other_pid()?)?;
    let trigger = child.pid;
    let victims = if single {
        vec![child]
    } else {
        vec![main.facts()?, child]
    };
    let (outcome, event) = if single {
        ("child-died", CHILD_DIED)
    } else {
        ("container-died", DIED)
    };
    let expected = ExpectedReport {
        kill: ExpectedKill {
            outcome,
            trigger: Some(trigger),
            ..ExpectedKill::at_limit(("container", LIMIT, &pod.group.path), &victims)
        },
        fields: vec![main.setting(LIMIT), main.holder(MIB, Some(LIMIT))],
        events: vec![pod.event(event)],
    };
    let outcome = stage.play(&expected, || hog.open_gate())?;
    stage.kubelet.remove(&pod)?;
    Ok(outcome)
}

/// As a web server's or a database's container: all are killed together.
pub(super) fn many_processes(stage: &mut Stage) -> Result<Value> {
    let eats = hog(0, EATS);
    let script = format!("for i in $(seq {MANY}); do sleep 1000 & done; {eats}");
    let containers = [ContainerPlan::new("main", Some(2 * LIMIT), &script)];
    let pod = stage.kubelet.run(PodPlan::new(&containers))?;
    let main = stage.kubelet.start_container(&pod, "main")?;
    let mut hog = main.hog(0)?;
    let victims = main.pids()?.into_iter().map(|pid| main.facts_of(pid));
    let victims = victims.collect::<Result<Vec<_>>>()?;
    let kill = ExpectedKill {
        trigger: Some(main.pid),
        ..ExpectedKill::at_limit(("container", 2 * LIMIT, &pod.group.path), &victims)
    };
    let event = ExpectedEvent {
        first: &["main", "96 MiB"],
        contains: &["300 more"],
        next: "raise main's resources.limits.memory above 96 MiB",
        ..DIED
    };
    let expected = ExpectedReport {
        kill,
        fields: vec![
            main.setting(2 * LIMIT),
            main.holder(MIB, Some(2 * LIMIT)),
            ("victim_count", json!(victims.len())),
        ],
        events: vec![pod.event(event)],
    };
    let mut outcome = stage.play(&expected, || hog.open_gate())?;
    // As many are listed.
    let listed = outcome.pointer_mut("/expected/incident/victims");
    let listed = listed.and_then(Value::as_array_mut);
    listed.context("what is expected")?.truncate(256);
    stage.kubelet.remove(&pod)?;
    Ok(outcome)
}
