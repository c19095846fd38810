//! Victims that are in no container of a pod's, and those that are beside them.

use anyhow::Result;
use serde_json::{Value, json};

use super::{CHILD_DIED, DIED, IDLES, LIMIT};
use crate::expect::anything;
use crate::guest::cases::memory;
use crate::guest::node::kubelet::{ContainerPlan, PodPlan};
use crate::guest::node::stage::{Kill, Note, Stage};
use crate::guest::pods::Group;
use crate::guest::process::{Plan, start_on_host};
use crate::guest::scene::Story;

/// Kata and gVisor have a process of the host's in the sandbox's own cgroup.
pub(super) fn sandbox_of_another_runtime(stage: &mut Stage) -> Result<Value> {
    let containers = [ContainerPlan::new("main", Some(LIMIT), IDLES)];
    let pod = stage.kubelet.run(PodPlan::new(&containers))?;
    let sandbox = pod.sandbox_group();
    let mut hog = start_on_host(Plan {
        group: &sandbox,
        args: &["--mib", "400", "--gate"],
        uid: 0,
        oom_score_adj: 0,
    })?;
    let victims = [pod.in_sandbox(hog.facts()?)?];
    let story = Story {
        scope: "pod",
        limit_bytes: Some(LIMIT),
        limit_cgroup: Some(&pod.group.path),
        outcome: "unknown",
        trigger: victims.first().map(|victim| victim.pid),
        victims: &victims,
    };
    let note = Note {
        field_path: None,
        first: &["The pod", "hog", "48 MiB"],
        next: "find which container grows",
        ..CHILD_DIED
    };
    let kill = Kill {
        story,
        more: vec![
            ("holders", anything()),
            // What it is to its sandbox, the runtime alone knows.
            (
                "degraded",
                json!([
                    "victims[0].outcome: the container shares its PID namespace: its first process cannot be distinguished from one that was executed in it, or whose parent has ended"
                ]),
            ),
        ],
        notes: vec![pod.note(note)],
    };
    let told = stage.play(&kill, || hog.go())?;
    stage.kubelet.remove(&pod)?;
    Ok(told)
}

/// A process of no pod takes all there is: the kernel kills a bystander of some KiB before it.
pub(super) fn node_full_by_a_host_process(stage: &mut Stage) -> Result<Value> {
    let containers = [ContainerPlan::new("main", None, IDLES)];
    let pod = stage.kubelet.run(PodPlan::new(&containers))?;
    let main = stage.kubelet.start_container(&pod, "main")?;
    let service = Group::plain("/system.slice/hog.service")?;
    let mut hog = start_on_host(Plan {
        group: &service,
        args: &["--mib", "4096", "--gate"],
        uid: 0,
        oom_score_adj: 0,
    })?;
    let (bystander, eater) = ([main.facts()?], [hog.facts()?]);
    let story = |victims, outcome| Story {
        scope: "node",
        limit_bytes: memory().ok(),
        limit_cgroup: None,
        outcome,
        // Whoever wants a page when there is none.
        trigger: None,
        victims,
    };
    let (first, then) = (
        story(&bystander, "container-died"),
        story(&eater, "unknown"),
    );
    let of_pod = Note {
        first: &["node", "main", "sleep"],
        says: &["hog"],
        // By the time it is looked for, it may have been killed, too.
        next: "see why",
        ..DIED
    };
    let on_node = Note {
        on: "Node  guest",
        field_path: None,
        reason: "NodeOutOfMemory",
        ..of_pod
    };
    let of_hog = Note {
        first: &["node", "hog"],
        next: "see what fills",
        ..on_node
    };
    let kill = |story, notes| Kill {
        story,
        more: vec![("holders", anything())],
        notes,
    };
    let first = kill(first, vec![pod.note(of_pod), on_node]);
    let then = kill(then, vec![of_hog]);
    let told = stage.play_all(&[&first, &then], || hog.go())?;
    stage.kubelet.remove(&pod)?;
    // /proc shows the agent, whose cgroup namespace is its container's, other paths than the kernel has.
    let holders = told
        .first()
        .and_then(|told| told.pointer("/told/incident/holders"));
    let holders = holders.and_then(Value::as_array).into_iter().flatten();
    let paths: Vec<&str> = holders
        .filter_map(|holder| holder.get("cgroup")?.as_str())
        .collect();
    let seen = json!({
        "largest": paths.first(),
        "relative": paths.iter().any(|path| path.contains("..")),
    });
    let part = |name: &str, more: Value| -> Vec<Value> {
        let parts = told
            .iter()
            .map(|one| one.get(name).cloned().unwrap_or_default());
        parts.chain([more]).collect()
    };
    Ok(json!({
        "expected": part("expected", json!({"largest": service.path, "relative": false})),
        "told": part("told", seen),
    }))
}
