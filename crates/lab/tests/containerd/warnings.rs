//! Containers that are warned before their limit: they act in time, or they are killed.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use lab::{Agent, Containerd, wait};
use proto::cri::ContainerState;
use serde_json::{Value, json};

use crate::pod;
use crate::support::admin::{Admin, LISTEN};
use crate::support::cri::{Gated, Pod, Sandbox};
use crate::support::{MIB, SOON, agent_bin, at, containerd};

/// Grows by steps in shared memory, which counts; notes its signals, and frees all when it is critical.
const CAREFUL: &str = "
    trap 'du -m /dev/shm > /warned' USR1
    trap 'du -m /dev/shm > /critical; rm /dev/shm/eaten; exec sleep 2147483647' USR2
    while :; do head -c 1048576 /dev/zero >> /dev/shm/eaten; sleep 0.1; done";

/// Of the 64 MiB of each container, the sandbox's shared memory has as many.
const LIMIT: u64 = 48 * MIB;

fn annotated_pod(annotations: &[(&'static str, &'static str)]) -> Pod {
    Pod {
        annotations: annotations.to_vec(),
        ..pod()
    }
}

fn warning(containerd: &Containerd, args: &[&str]) -> (Agent, Admin) {
    let endpoint = format!("unix://{}", containerd.socket().display());
    let base = ["--no-kubernetes", "--cri-endpoint", &endpoint];
    let args = [&base[..], args, &LISTEN].concat();
    let mut agent = Agent::start(&agent_bin(), &args, &[]).unwrap();
    let admin = Admin::of_agent(&mut agent);
    (agent, admin)
}

/// The next line of that container's, of that level.
fn line(agent: &mut Agent, container: &Gated, level: &str) -> Value {
    let ours = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        let ours = *line.pointer("/container/id")? == json!(container.id);
        (ours && *line.get("warning")? == json!(level)).then_some(line)
    };
    agent.incidents.find("warning", SOON, ours).unwrap()
}

/// What it wrote, in MiB.
fn noted_mib(containerd: &Containerd, container: &Gated, file: &str) -> u64 {
    let path = containerd.rootfs(&container.id).join(file);
    wait::until(file, SOON, || {
        let noted = fs::read_to_string(&path).ok()?;
        noted.split_whitespace().next()?.parse().ok()
    })
    .unwrap()
}

#[test]
fn a_container_that_lets_go_when_it_is_signalled_survives() {
    let containerd = containerd();
    let (mut agent, admin) = warning(&containerd, &["--warn", "line,signal"]);
    let pod = annotated_pod(&[("oom-bonker.dev/signals", "first")]);
    let mut sandbox = Sandbox::run(&containerd, &pod);
    let container = sandbox.run_gated_within("main", LIMIT, CAREFUL);
    container.open();
    let warned = line(&mut agent, &container, "warning");
    let critical = line(&mut agent, &container, "critical");
    for (line, signal, mark) in [(&warned, "SIGUSR1", 75), (&critical, "SIGUSR2", 90)] {
        let sent = json!({"name": signal, "sent": 1, "pids": [container.pid], "failed": null});
        assert_eq!(*at(line, "/signal"), sent);
        assert_eq!(*at(line, "/mark"), json!(format!("{mark} % (working set)")));
        assert_eq!(*at(line, "/limit_bytes"), json!(LIMIT));
        assert_eq!(*at(line, "/pod/name"), json!("hungry"));
        assert_eq!(*at(line, "/container/name"), json!("main"));
        let usage = at(line, "/working_set_bytes").as_u64().unwrap();
        assert!(usage >= LIMIT * mark / 100 && usage < LIMIT, "{line:#}");
        // It grows by some 10 MiB a second.
        let left = at(line, "/seconds_to_limit").as_f64().unwrap();
        assert!(left < 10.0, "{line:#}");
    }
    // Some of the limit is the shell itself; on a busy machine some more is eaten meanwhile.
    let first = noted_mib(&containerd, &container, "warned");
    let last = noted_mib(&containerd, &container, "critical");
    assert!((33..44).contains(&first), "warned at {first} MiB of 48");
    assert!((40..48).contains(&last), "signalled at {last} MiB of 48");
    let status = sandbox.status(&container);
    assert_eq!(status.state(), ContainerState::ContainerRunning);
    assert_eq!(status.reason, "");
    // It is the only one here with that annotation.
    admin.until("oom_agent_warning_signals_total", 2.0);
    admin.until("oom_agent_warning_signals_failed_total", 0.0);
}

#[test]
fn the_same_container_is_killed_without_the_annotation_for_signals() {
    let containerd = containerd();
    let (mut agent, admin) = warning(&containerd, &["--warn", "line,signal"]);
    let mut sandbox = Sandbox::run(&containerd, &pod());
    let container = sandbox.run_gated_within("main", LIMIT, CAREFUL);
    container.open();
    assert_eq!(
        *at(&line(&mut agent, &container, "critical"), "/signal"),
        Value::Null
    );
    let incident = agent.incident_in(&container.cgroup, SOON).unwrap();
    assert_eq!(*at(&incident, "/scope"), json!("container"));
    assert!(!containerd.rootfs(&container.id).join("warned").exists());
    assert_eq!(admin.series("oom_agent_warning_signals_total"), Some(0.0));
}

#[test]
fn a_pods_own_thresholds_and_signals_hold_and_bad_annotations_are_logged() {
    let containerd = containerd();
    let (mut agent, admin) = warning(&containerd, &["--warn", "line,signal"]);
    let pod = annotated_pod(&[
        ("oom-bonker.dev/signals", "all"),
        ("oom-bonker.dev/warning", "memory_usage > 30"),
        ("oom-bonker.dev/critical", "memory_usage > 60 &"),
        ("oom-bonker.dev/warning-signal", "SIGTERM"),
    ]);
    let mut sandbox = Sandbox::run(&containerd, &pod);
    let script = "trap 'du -m /dev/shm > /critical; rm /dev/shm/eaten; exec sleep 2147483647' TERM
        while :; do head -c 1048576 /dev/zero >> /dev/shm/eaten; sleep 0.1; done";
    let container = sandbox.run_gated_within("main", LIMIT, script);
    container.open();
    let warned = line(&mut agent, &container, "warning");
    assert_eq!(*at(&warned, "/mark"), json!("memory_usage > 30"));
    assert_eq!(*at(&warned, "/signal/name"), json!("SIGTERM"));
    // The shell, and whatever it runs at that moment.
    assert!(at(&warned, "/signal/sent").as_u64().unwrap() >= 1);
    let last = noted_mib(&containerd, &container, "critical");
    assert!((12..30).contains(&last), "signalled at {last} MiB of 48");
    agent
        .log
        .find("the annotation", SOON, |line| {
            let message = "annotation oom-bonker.dev/critical is not heeded: ";
            (line.contains(message) && line.contains("at character 19")).then_some(())
        })
        .unwrap();
    admin.until("oom_agent_warning_annotations_not_heeded_total", 1.0);
}

#[test]
fn a_warning_is_posted_with_the_process_that_would_be_killed() {
    let containerd = containerd();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("post.yaml");
    let url = format!("http://{}/warn", listener.local_addr().unwrap());
    let headers = "headers: [{name: authorization, value: Bearer s3cret}]";
    fs::write(&file, format!("url: {url}\n{headers}\n")).unwrap();
    let post = ["--warn-post", file.to_str().unwrap(), "--warning", "never"];
    let (_agent, admin) = warning(&containerd, &post);
    let mut sandbox = Sandbox::run(&containerd, &pod());
    let container = sandbox.run_gated_within("main", LIMIT, CAREFUL);
    container.open();
    // Others' containers on this machine are reported, too.
    let (request, body) = loop {
        let (request, body) = answered(&listener);
        if *at(&body, "/container/id") == json!(container.id) {
            break (request, body);
        }
    };
    assert!(request.contains("Bearer s3cret"), "{request}");
    assert_eq!(*at(&body, "/severity"), json!("Critical"));
    assert_eq!(*at(&body, "/container/name"), json!("main"));
    assert_eq!(*at(&body, "/pod/name"), json!("hungry"));
    assert_eq!(*at(&body, "/cgroup"), json!(container.cgroup));
    assert_eq!(*at(&body, "/collected_data/memory_max"), json!(LIMIT));
    assert!(at(&body, "/process/pid").as_u64().unwrap() > 0);
    wait::until("the count of it", SOON, || {
        let taken = admin.series(r#"oom_agent_warning_posts_total{outcome="taken"}"#)?;
        (taken >= 1.0).then_some(())
    })
    .unwrap();
}

/// The next request, with its body; it is answered.
fn answered(listener: &TcpListener) -> (String, Value) {
    let (mut peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(SOON)).unwrap();
    let mut request = Vec::new();
    loop {
        let mut more = [0; 4096];
        let read = peer.read(&mut more).unwrap();
        let text = String::from_utf8_lossy(&request).into_owned();
        assert!(read > 0, "{text}");
        request.extend_from_slice(&more[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        if let Ok(body) = serde_json::from_str(body) {
            peer.write_all(b"HTTP/1.1 204 x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .unwrap();
            return (text, body);
        }
    }
}
