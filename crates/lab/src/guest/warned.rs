//! A container's process that heeds what the agent signals lives, on cgroup v2; without the agent it dies.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::careful::{Twins, lives_by_its_signals};
use super::process::SOON;
use super::runtime::Stand;
use super::scene::Scene;

/// There are no PID namespaces here: no container has a first process.
const ANNOTATIONS: [(&str, &str); 1] = [("oom-bonker.dev/signals", "all")];

pub(super) fn warned(scene: &mut Scene) -> Result<Value> {
    let twins = Twins::of_pod(40)?;
    let uid = &twins.warned.pod;
    let socket = Path::new("/tmp/cri.sock");
    let stand = Stand::at(socket, &ANNOTATIONS)?;
    let endpoint = format!("unix://{}", socket.display());
    let mut agent = Scene::another(&["--warn", "line,signal", "--cri-endpoint", &endpoint])?;
    let mut warned = twins.start_warned()?;
    let warned = warned.first()?;
    let pid = warned.facts()?.pid;
    lives_by_its_signals(warned)?;
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
    twins.unwarned_dies(scene)
}
