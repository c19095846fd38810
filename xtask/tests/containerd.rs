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
use support::admin::{Admin, LISTEN};
use support::cri::{Pod, run_gated};
use support::{MIB, SOON, agent_bin, at, containerd, degraded};
use xtask::lab::{Agent, wait};

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

#[test]
fn a_running_container_is_at_zero_before_its_kill_and_at_one_after() {
    let containerd = containerd();
    // The agent is there before the runtime is, as after a node's boot.
    let late = containerd.dir().join("late.sock");
    let endpoint = format!("unix://{}", late.display());
    let args = [
        "--no-kubernetes",
        "--cri-endpoint",
        &endpoint,
        LISTEN[0],
        LISTEN[1],
    ];
    let mut agent = Agent::start(&agent_bin(), &args, &[]).unwrap();
    let admin = Admin::of(&mut agent);
    assert_eq!(admin.get("/ready").0, 503);
    std::os::unix::fs::symlink(containerd.socket(), &late).unwrap();
    wait::until("readiness", SOON, || {
        (admin.get("/ready").0 == 200).then_some(())
    })
    .unwrap();

    let pod = pod();
    let container = run_gated(&containerd, &pod, "main", "exec tail /dev/zero");
    let series = |outcome: &str| {
        format!(
            r#"oom_agent_kills_total{{namespace="{}",pod="{}",container="main",scope="container",outcome="{outcome}"}}"#,
            pod.namespace, pod.name
        )
    };
    admin.until(&series("container-died"), 0.0);
    assert_eq!(admin.series("oom_agent_running_containers"), Some(1.0));
    container.open();
    agent.incident_of(container.pid, SOON).unwrap();
    admin.until(&series("container-died"), 1.0);
    assert_eq!(admin.series(&series("child-died")), Some(0.0));
    // Its end is seen, and its series stay.
    admin.until("oom_agent_running_containers", 0.0);
    assert_eq!(admin.series(&series("container-died")), Some(1.0));
}
