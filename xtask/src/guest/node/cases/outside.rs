//! Victims that are in no container of a pod's, and those that are beside them.

use anyhow::Result;
use serde_json::{Value, json};

use super::{CHILD_DIED, IDLES, LIMIT};
use crate::expect::anything;
use crate::guest::node::kubelet::{ContainerPlan, PodPlan};
use crate::guest::node::stage::{Kill, Note, Stage};
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
        first: &["the pod", "hog", "48 MiB"],
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
                json!(["victims[0].outcome: the container shares the host's PID namespace"]),
            ),
        ],
        notes: vec![pod.note(note)],
    };
    let told = stage.play(&kill, || hog.go())?;
    stage.kubelet.remove(&pod)?;
    Ok(told)
}
