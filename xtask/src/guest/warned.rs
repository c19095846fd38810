//! A container's process that heeds what the agent signals lives, on cgroup v2; without the agent it dies.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::pods::Group;
use super::process::{Plan, SOON, start};
use super::runtime::Stand;
use super::scene::{Scene, Story};

const LIMIT: u64 = 64 << 20;
const CAREFUL: [&str; 6] = ["--mib", "200", "--gate", "--hold", "--careful", "50"];

/// There are no PID namespaces here: no container has a first process.
const ANNOTATIONS: [(&str, &str); 1] = [("oom-bonker.dev/signals", "all")];

pub(super) fn warned(scene: &mut Scene) -> Result<Value> {
    let pod = Group::burstable()?.pod(40)?;
    let (first, second) = (
        pod.container(40)?.limit(LIMIT)?,
        pod.container(41)?.limit(LIMIT)?,
    );
    let uid = pod.pod.clone();
    let plan = |group| Plan {
        group,
        args: &CAREFUL,
        uid: 1000,
        oom_score_adj: 0,
    };
    let socket = Path::new("/tmp/cri.sock");
    let stand = Stand::at(socket, &ANNOTATIONS)?;
    let endpoint = format!("unix://{}", socket.display());
    let mut agent = Scene::another(&["--warn", "line,signal", "--cri-endpoint", &endpoint])?;
    let mut warned = start(&[plan(&first)])?;
    let warned = warned.first()?;
    let pid = warned.facts()?.pid;
    warned.go()?;
    for said in ["growing", "warned at", "let go at", "touched 0 MiB"] {
        warned.said(said)?;
    }
    warned.lives()?;
    for (level, signal) in [("warning", "SIGUSR1"), ("critical", "SIGUSR2")] {
        let line = agent.incidents.find(level, SOON, |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            (*line.get("warning")? == json!(level)).then_some(line)
        })?;
        let told = json!({"name": signal, "sent": 1, "pids": [pid], "failed": null});
        ensure!(line.get("signal") == Some(&told), "{line:#}");
        let named = line.pointer("/container/name") == Some(&json!("main"));
        ensure!(
            named && line.pointer("/pod/uid") == Some(&json!(uid)),
            "{line:#}"
        );
        // cgroup v2 tells what was waited for memory.
        ensure!(line.pointer("/pressure/some/avg10").is_some(), "{line:#}");
    }
    agent.end();
    drop(stand);
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
