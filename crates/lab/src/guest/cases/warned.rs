//! A container's process that acts on the agent's signals lives, on cgroup v2; without the agent it dies.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::runtime::Runtime;
use super::twins::{Twins, check_it_acts_on_signals};
use crate::guest::scene::Scene;
use crate::wait::HANG;

/// There are no PID namespaces here: no container has a first process.
const ANNOTATIONS: [(&str, &str); 1] = [("oom-bonker.dev/signals", "all")];

pub(super) fn warned(scene: &mut Scene) -> Result<Value> {
    let twins = Twins::create(40)?;
    let uid = &twins.warned.pod;
    let socket = Path::new("/tmp/cri.sock");
    let runtime = Runtime::serve(socket, &ANNOTATIONS)?;
    let endpoint = format!("unix://{}", socket.display());
    let mut agent = Scene::start_agent(&["--warn", "line,signal", "--cri-endpoint", &endpoint])?;
    let mut warned = twins.start_warned()?;
    let pid = warned.facts()?.pid;
    check_it_acts_on_signals(&mut warned)?;
    for (level, signal) in [("warning", "SIGUSR1"), ("critical", "SIGUSR2")] {
        let line = agent.incidents.find(level, HANG, |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            (*line.get("warning")? == json!(level)).then_some(line)
        })?;
        let sent = json!({"name": signal, "sent": 1, "pids": [pid], "failed": null});
        ensure!(line.get("signal") == Some(&sent), "{line:#}");
        let named = line.pointer("/container/name") == Some(&json!("main"));
        ensure!(
            named && line.pointer("/pod/uid") == Some(&json!(uid)),
            "{line:#}"
        );
        // cgroup v2 counts waits for memory.
        ensure!(line.pointer("/pressure/some/avg10").is_some(), "{line:#}");
    }
    agent.end();
    drop(runtime);
    twins.kill_unwarned(scene)
}
