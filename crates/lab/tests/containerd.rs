//! Containers OOM-killed in a real containerd, and how the agent reports them.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test, in helpers too"
)]

#[path = "containerd/names.rs"]
mod names;
mod support;
#[path = "containerd/warnings.rs"]
mod warnings;

use std::path::Path;

use lab::{Agent, Containerd, wait};
use proto::cri::ContainerState;
use serde_json::{Value, json};
use support::admin::{Admin, LISTEN};
use support::cri::{Gated, Pod, Sandbox, run_gated};
use support::{MIB, SOON, agent_bin, at, containerd, degraded};

fn pod() -> Pod {
    Pod {
        namespace: "penguins".to_owned(),
        name: "hungry".to_owned(),
        uid: "6a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e".to_owned(),
        annotations: Vec::new(),
    }
}

/// An agent without Kubernetes, with a container runtime at that socket.
fn start_agent(socket: &Path, more: &[&str]) -> Agent {
    let endpoint = format!("unix://{}", socket.display());
    let args = [&["--no-kubernetes", "--cri-endpoint", &endpoint], more].concat();
    Agent::start(&agent_bin(), &args, &[]).unwrap()
}

#[test]
fn a_killed_container_is_named() {
    let containerd = containerd();
    let mut agent = start_agent(&containerd.socket(), &[]);
    let pod = pod();
    let container = run_gated(&containerd, &pod, "main", "exec tail /dev/zero");
    container.open();
    let incident = agent.incident_of(container.pid, SOON).unwrap();
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
}

#[test]
fn a_killed_child_of_a_living_container_is_named() {
    let containerd = containerd();
    let mut agent = start_agent(&containerd.socket(), &[]);
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

/// An agent that checks statuses, too.
fn judging(containerd: &Containerd) -> (Agent, Admin) {
    let args = [&["--verdicts"][..], &LISTEN].concat();
    let mut agent = start_agent(&containerd.socket(), &args);
    let admin = Admin::of_agent(&mut agent);
    (agent, admin)
}

/// The verdict on that container, some seconds after the kill.
fn verdict(agent: &mut Agent, container: &Gated) -> Value {
    let ours = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        line.get("verdict")?;
        (*line.pointer("/container/id")? == json!(container.id)).then_some(line)
    };
    agent.incidents.find("verdict", SOON, ours).unwrap()
}

fn verdicts(kind: &str) -> String {
    format!(r#"oom_agent_verdicts_total{{verdict="{kind}"}}"#)
}

#[test]
fn a_kill_that_the_container_survives_is_missed_by_the_runtimes_status() {
    let containerd = containerd();
    let (mut agent, admin) = judging(&containerd);
    let mut sandbox = Sandbox::run(&containerd, &pod());
    let container = sandbox.run_gated("main", "tail /dev/zero; sleep 2147483647");
    container.open();
    let incident = agent.incident_in(&container.cgroup, SOON).unwrap();
    let verdict = verdict(&mut agent, &container);
    assert_eq!(*at(&verdict, "/verdict"), json!("missed"));
    assert_eq!(*at(&verdict, "/incident"), *at(&incident, "/id"));
    assert_eq!(
        *at(&verdict, "/victims/0"),
        *at(&incident, "/victims/0/pid")
    );
    assert_eq!(*at(&verdict, "/pod/name"), json!("hungry"));
    // This containerd reports both itself: it runs, and has been OOM-killed.
    let status = sandbox.status(&container);
    assert_eq!(status.state(), ContainerState::ContainerRunning);
    assert_eq!(
        *at(&verdict, "/status"),
        json!({"state": "running", "reason": status.reason, "exit_code": null, "finished_at": null})
    );
    admin.until(&verdicts("missed"), 1.0);
}

#[test]
fn an_idle_sibling_that_the_runtime_calls_killed_is_a_phantom() {
    let containerd = containerd();
    let (mut agent, admin) = judging(&containerd);
    let pod = pod();
    let mut sandbox = Sandbox::run(&containerd, &pod);
    let idle = sandbox.run_gated("idle", "true");
    let main = sandbox.run_gated("main", "exec tail /dev/zero");
    containerd.limit_pod(&pod.uid, 40 * MIB).unwrap();
    main.open();
    let incident = agent.incident_of(main.pid, SOON).unwrap();
    assert_eq!(*at(&incident, "/scope"), json!("pod"));
    let verdict = verdict(&mut agent, &idle);
    assert_eq!(*at(&verdict, "/verdict"), json!("phantom"));
    assert_eq!(*at(&verdict, "/incident"), *at(&incident, "/id"));
    assert_eq!(*at(&verdict, "/victims"), json!([]));
    assert_eq!(*at(&verdict, "/container/name"), json!("idle"));
    let status = sandbox.status(&idle);
    assert_eq!(
        (status.state(), status.reason.as_str()),
        (ContainerState::ContainerRunning, "OOMKilled")
    );
    // And the report of the killed one is complete.
    admin.until(&verdicts("agrees"), 1.0);
    admin.until(&verdicts("phantom"), 1.0);
    assert_eq!(admin.series(&verdicts("missed")), Some(0.0));
}

#[test]
fn the_report_of_a_killed_first_process_is_complete() {
    let containerd = containerd();
    let (mut agent, admin) = judging(&containerd);
    let container = run_gated(&containerd, &pod(), "main", "exec tail /dev/zero");
    container.open();
    agent.incident_of(container.pid, SOON).unwrap();
    admin.until(&verdicts("agrees"), 1.0);
    for kind in ["missed", "phantom", "undecided"] {
        assert_eq!(admin.series(&verdicts(kind)), Some(0.0), "{kind}");
    }
    agent.end();
    let more = agent
        .incidents
        .so_far()
        .find(|line| line.starts_with(r#"{"version":1,"verdict""#));
    assert_eq!(more, None);
}

#[test]
fn without_the_cri_socket_the_incident_is_degraded_and_reported() {
    let containerd = containerd();
    let mut agent = start_agent(&containerd.dir().join("absent.sock"), &[]);
    let pod = pod();
    let container = run_gated(&containerd, &pod, "main", "exec tail /dev/zero");
    container.open();
    let incident = agent.incident_of(container.pid, SOON).unwrap();
    // What the cgroup's path shows is known all the same.
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
}

#[test]
fn a_running_container_is_at_zero_before_its_kill_and_at_one_after() {
    let containerd = containerd();
    // The agent is there before the runtime is, as after a node's boot.
    let late = containerd.dir().join("late.sock");
    let mut agent = start_agent(&late, &LISTEN);
    let admin = Admin::of_agent(&mut agent);
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
