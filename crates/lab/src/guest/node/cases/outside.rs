//! Victims that are in no container of a pod's, and those that are beside them.

use anyhow::Result;
use serde_json::{Value, json};

use super::plans::{CHILD_DIED, DIED, IDLES, LIMIT};
use crate::expect::anything;
use crate::guest::kill::ExpectedKill;
use crate::guest::memory::meminfo;
use crate::guest::node::event::ExpectedEvent;
use crate::guest::node::manifest::{ContainerPlan, PodPlan};
use crate::guest::node::stage::{ExpectedReport, Stage};
use crate::guest::pods::Group;
use crate::guest::process::{Plan, start_on_host};

/// Kata and gVisor have a process of the host's in the sandbox's own cgroup.
pub(super) fn sandbox_of_another_runtime(stage: &mut Stage) -> Result<Value> {
    let containers = [ContainerPlan::new("main", Some(LIMIT), IDLES)];
    let pod = stage.kubelet.run(PodPlan::new(&containers))?;
    let sandbox = pod.sandbox_group();
    let mut hog = start_on_host(Plan::new(&sandbox, &["--mib", "400", "--gate"]))?;
    let victims = [pod.in_sandbox(hog.facts()?)?];
    let kill = ExpectedKill {
        outcome: "unknown",
        ..ExpectedKill::at_limit(("pod", LIMIT, &pod.group.path), &victims)
    };
    let event = ExpectedEvent {
        field_path: None,
        first: &["The pod", "hog", "48 MiB"],
        next: "find which container grows",
        ..CHILD_DIED
    };
    let expected = ExpectedReport {
        kill,
        fields: vec![
            ("holders", anything()),
            // Only the runtime knows what it is to its sandbox.
            (
                "degraded",
                json!([
                    "victims[0].outcome: the container shares its PID namespace: its first process cannot be distinguished from one that was executed in it, or whose parent has ended"
                ]),
            ),
        ],
        events: vec![pod.event(event)],
    };
    let outcome = stage.play(&expected, || hog.open_gate())?;
    stage.kubelet.remove(&pod)?;
    Ok(outcome)
}

/// A process of no pod takes all there is: the kernel kills a bystander of some KiB before it.
pub(super) fn node_full_by_a_host_process(stage: &mut Stage) -> Result<Value> {
    let containers = [ContainerPlan::new("main", None, IDLES)];
    let pod = stage.kubelet.run(PodPlan::new(&containers))?;
    let main = stage.kubelet.start_container(&pod, "main")?;
    let service = Group::create("/system.slice/hog.service")?;
    let mut hog = start_on_host(Plan::new(&service, &["--mib", "4096", "--gate"]))?;
    let (bystander, eater) = ([main.facts()?], [hog.facts()?]);
    let total = Some(meminfo("MemTotal:")?);
    let first = ExpectedKill::without_limit("node", total, &bystander);
    let then = ExpectedKill {
        outcome: "unknown",
        ..ExpectedKill::without_limit("node", total, &eater)
    };
    let of_pod = ExpectedEvent {
        first: &["node", "main", "sleep"],
        contains: &["hog"],
        // By the time it is looked for, it may have been killed, too.
        next: "see why",
        ..DIED
    };
    let on_node = ExpectedEvent {
        on: "Node  guest",
        field_path: None,
        reason: "NodeOutOfMemory",
        ..of_pod
    };
    let of_hog = ExpectedEvent {
        first: &["node", "hog"],
        next: "see what fills",
        ..on_node
    };
    let expected = |kill, events| ExpectedReport {
        kill,
        fields: vec![("holders", anything())],
        events,
    };
    let first = expected(first, vec![pod.event(of_pod), on_node]);
    let then = expected(then, vec![of_hog]);
    let outcomes = stage.play_all(&[&first, &then], || hog.open_gate())?;
    stage.kubelet.remove(&pod)?;
    // /proc shows the agent, whose cgroup namespace is its container's, other paths than the kernel has.
    let holders = outcomes
        .first()
        .and_then(|outcome| outcome.pointer("/reported/incident/holders"));
    let holders = holders.and_then(Value::as_array).into_iter().flatten();
    let paths: Vec<&str> = holders
        .filter_map(|holder| holder.get("cgroup")?.as_str())
        .collect();
    let holders = json!({
        "largest": paths.first(),
        "relative": paths.iter().any(|path| path.contains("..")),
    });
    let part = |name: &str, holders: Value| -> Vec<Value> {
        let parts = outcomes.iter().filter_map(|outcome| outcome.get(name));
        parts.cloned().chain([holders]).collect()
    };
    Ok(json!({
        "expected": part("expected", json!({"largest": service.path, "relative": false})),
        "reported": part("reported", holders),
    }))
}
