//! The agent's pod.

use std::fs;

use jiff::Timestamp;
use lab::{Cluster, wait};
use serde_json::{Value, json};
use xtask::process::capture;
use xtask::terminal;

use crate::PATIENCE;
use crate::support::{MIB, at, text};

/// The agent's pod once it is ready.
pub(crate) fn ready_agent(cluster: &Cluster) -> Value {
    wait::until("an agent that is ready", PATIENCE, || {
        let list = cluster
            .api
            .get("/api/v1/namespaces/oom-bonker/pods")
            .unwrap();
        let pod = list.pointer("/items/0")?.clone();
        let status = pod.pointer("/status/containerStatuses/0")?;
        (status["ready"] == json!(true)).then_some(pod)
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", described(cluster)))
}

fn described(cluster: &Cluster) -> String {
    let mut kubectl = cluster.api.kubectl();
    let describe = ["describe", "pods", "--namespace=oom-bonker"];
    capture(kubectl.args(describe)).unwrap_or_default()
}

/// The incidents in the agent's log, with when the runtime took them.
pub(crate) fn agent_lines(cluster: &Cluster) -> Vec<(Timestamp, Value)> {
    logged(cluster, "stdout")
}

/// Its log above the level of information.
pub(crate) fn warnings(cluster: &Cluster) -> Vec<String> {
    logged(cluster, "stderr")
        .into_iter()
        .filter(|(_, line)| line["level"] == "WARN" || line["level"] == "ERROR")
        .map(|(_, line)| line.to_string())
        .collect()
}

/// One stream of the agent's log, as the container runtime keeps it: `TIME STREAM F LINE`.
fn logged(cluster: &Cluster, stream: &str) -> Vec<(Timestamp, Value)> {
    let mut lines = Vec::new();
    for pod in fs::read_dir(cluster.pod_logs()).unwrap() {
        let log = pod.unwrap().path().join("oom-agent/0.log");
        for line in fs::read_to_string(log).unwrap_or_default().lines() {
            let mut fields = line.splitn(4, ' ');
            let time = fields.next().unwrap();
            if fields.next() != Some(stream) {
                continue;
            }
            assert_eq!(fields.next(), Some("F"), "a line in one piece");
            let value = serde_json::from_str(fields.next().unwrap()).unwrap();
            lines.push((time.parse().unwrap(), value));
        }
    }
    lines
}

/// The most memory that the agent's container ever had is what its manifest requests.
pub(crate) fn memory_is_within_the_request(cluster: &Cluster, agent: &Value) {
    let pid = agent_pid(cluster, agent);
    let most = memory(pid, "memory.max_usage_in_bytes", "memory.peak");
    let Some(most) = most else {
        terminal::line("this kernel does not keep the most memory that a cgroup had");
        return;
    };
    let requested = text(agent, "/spec/containers/0/resources/requests/memory");
    terminal::line(format_args!(
        "{} KiB at most in the agent's container, which requests {requested}",
        most / 1024
    ));
    let requested: u64 = requested.strip_suffix("Mi").unwrap().parse().unwrap();
    assert!(most <= requested * MIB);
}

/// The text of a file of a process's cgroup, by its name on cgroup v1 and on v2.
pub(crate) fn memory(pid: u32, v1: &str, v2: &str) -> Option<u64> {
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    cgroups.lines().find_map(|line| {
        let (controller, path) = line.split_once(':')?.1.split_once(':')?;
        let file = match controller {
            "memory" => format!("/sys/fs/cgroup/memory{path}/{v1}"),
            "" => format!("/sys/fs/cgroup{path}/{v2}"),
            _ => return None,
        };
        fs::read_to_string(file).ok()?.trim().parse().ok()
    })
}

/// Its process id on this host.
pub(crate) fn agent_pid(cluster: &Cluster, agent: &Value) -> u32 {
    container_pid(cluster, at(agent, "/status/containerStatuses/0"))
}

/// The same of a container, by its status.
pub(crate) fn container_pid(cluster: &Cluster, status: &Value) -> u32 {
    let id = text(status, "/containerID");
    let id = id.strip_prefix("containerd://").unwrap();
    cluster.containerd.pid_of(id).unwrap()
}
