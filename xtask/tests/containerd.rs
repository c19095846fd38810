//! Containers OOM-killed in a real containerd, and what the agent tells of them.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test, in helpers too"
)]

mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::cri::{Pod, run_gated};
use support::{MIB, SOON, agent_bin, at, containerd, degraded};
use xtask::lab::Agent;

fn pod() -> Pod {
    Pod {
        namespace: "penguins".to_owned(),
        name: "hungry".to_owned(),
        uid: "6a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e".to_owned(),
    }
}

#[test]
fn a_killed_container_is_named_within_a_second() {
    let containerd = containerd();
    let endpoint = format!("unix://{}", containerd.socket().display());
    let mut agent = Agent::start(
        &agent_bin(),
        &["--no-kubernetes", "--cri-endpoint", &endpoint],
        &[],
    )
    .unwrap();
    let pod = pod();
    let container = run_gated(&containerd, &pod, "main", "exec tail /dev/zero");
    let opened = container.open();
    let incident = agent.incident_of(container.pid, SOON).unwrap();
    // From before the container even began to eat.
    let took = opened.elapsed();
    assert_eq!(*at(&incident, "/victims/0/comm"), json!("tail"));
    assert_eq!(
        *at(&incident, "/victims/0/cmdline"),
        json!(["tail", "/dev/zero"])
    );
    assert_eq!(*at(&incident, "/victims/0/cgroup"), json!(container.cgroup));
    assert_eq!(*at(&incident, "/victims/0/oom_score_adj"), json!(999));
    assert_eq!(
        *at(&incident, "/victims/0/container"),
        json!({"id": container.id, "name": "main", "runtime": "containerd"})
    );
    assert_eq!(
        *at(&incident, "/victims/0/pod"),
        json!({"namespace": pod.namespace, "name": pod.name, "uid": pod.uid})
    );
    assert_eq!(*at(&incident, "/outcome"), json!("container-died"));
    assert_eq!(*at(&incident, "/scope"), json!("container"));
    assert_eq!(*at(&incident, "/limit_bytes"), json!(64 * MIB));
    assert_eq!(*at(&incident, "/limit_cgroup"), json!(container.cgroup));
    assert_eq!(*at(&incident, "/victims/0/namespace_pid"), json!(1));
    assert!(
        took < Duration::from_secs(1),
        "{took:?} from the first byte eaten to the incident"
    );
}

#[test]
fn a_killed_child_of_a_living_container_is_named() {
    let containerd = containerd();
    let endpoint = format!("unix://{}", containerd.socket().display());
    let mut agent = Agent::start(
        &agent_bin(),
        &["--no-kubernetes", "--cri-endpoint", &endpoint],
        &[],
    )
    .unwrap();
    let container = run_gated(
        &containerd,
        &pod(),
        "main",
        "tail /dev/zero; sleep 2147483647",
    );
    container.open();
    let incident = agent.incident_in(&container.cgroup, SOON).unwrap();
    assert_ne!(*at(&incident, "/victims/0/pid"), json!(container.pid));
    assert_eq!(*at(&incident, "/victims/0/comm"), json!("tail"));
    assert_eq!(
        *at(&incident, "/victims/0/container/id"),
        json!(container.id)
    );
    assert_eq!(*at(&incident, "/victims/0/container/name"), json!("main"));
    assert_eq!(*at(&incident, "/outcome"), json!("child-died"));
}

#[test]
fn without_the_cri_socket_the_incident_is_degraded_and_told() {
    let containerd = containerd();
    let absent = format!("unix://{}", containerd.dir().join("absent.sock").display());
    let mut agent = Agent::start(
        &agent_bin(),
        &["--no-kubernetes", "--cri-endpoint", &absent],
        &[],
    )
    .unwrap();
    let pod = pod();
    let container = run_gated(&containerd, &pod, "main", "exec tail /dev/zero");
    let opened: Instant = container.open();
    let incident = agent.incident_of(container.pid, SOON).unwrap();
    let took = opened.elapsed();
    // What the cgroup's path tells is known all the same.
    assert_eq!(
        *at(&incident, "/victims/0/container/id"),
        json!(container.id)
    );
    assert_eq!(*at(&incident, "/victims/0/container/name"), json!(null));
    assert_eq!(*at(&incident, "/victims/0/pod/uid"), json!(pod.uid));
    assert_eq!(*at(&incident, "/victims/0/pod/name"), json!(null));
    assert!(
        degraded(&incident, "victims[0].container.name"),
        "{incident:#}"
    );
    assert!(took < Duration::from_secs(5), "{took:?}");
}
