//! The agent as patched to signal: a pod with the annotation lives.

use std::collections::BTreeMap;
use std::fs;

use lab::{Cluster, wait};
use serde_json::{Value, json};
use xtask::process::capture;
use xtask::{terminal, workspace};

use crate::agent::{agent_pid, ready_agent};
use crate::support::{at, text};
use crate::{ACCOUNT, PATIENCE};

const POD: &str = "/api/v1/namespaces/hungry/pods/careful";

pub(crate) fn a_pod_annotated_for_signals_lives_by_them(cluster: &Cluster, before: &Value) {
    // As shipped the agent sends no signals.
    apply(cluster, "careless");
    wait::until("the kill of a pod without a warning", PATIENCE, || {
        let notes = notes(cluster, "careless");
        notes
            .keys()
            .any(|reason| reason.ends_with("OOMKilled"))
            .then_some(())
    })
    .unwrap();
    let patch = workspace::root().join("deploy/patches/signals.yaml");
    let mut kubectl = cluster.api.kubectl();
    kubectl.args(["patch", "daemonset", "oom-agent", "--namespace=oom-bonker"]);
    capture(kubectl.arg("--patch-file").arg(patch)).unwrap();
    let agent = wait::until("the agent as patched", PATIENCE, || {
        let agent = ready_agent(cluster);
        (text(&agent, "/metadata/uid") != text(before, "/metadata/uid")).then_some(agent)
    })
    .unwrap();
    has_what_signals_take(agent_pid(cluster, &agent));

    apply(cluster, "careful");
    let mut notes = wait::until("the Events of its warnings", PATIENCE, || {
        let notes = notes(cluster, "careful");
        let all = ["MemoryNearLimit", "MemoryAtLimit", "AnnotationNotHeeded"];
        all.iter()
            .all(|reason| notes.contains_key(*reason))
            .then_some(notes)
    })
    .unwrap();
    let output = wait::until("its lines", PATIENCE, || {
        log(cluster).filter(|log| log.contains("let go"))
    });
    let output = output.unwrap_or_else(|error| panic!("{error:#}\n{notes:#?}\n{:?}", log(cluster)));
    let mib = |what: &str| -> u64 {
        let line = output.lines().find_map(|line| line.strip_prefix(what));
        let line = line.unwrap_or_else(|| panic!("no {what} in {output}"));
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let (warned, let_go) = (mib("warned at "), mib("let go at "));
    terminal::line(format_args!(
        "careful: warned at {warned} MiB, let go at {let_go} MiB of 48"
    ));
    assert!(
        (33..44).contains(&warned) && (40..48).contains(&let_go),
        "{output}"
    );
    let pod = cluster.api.get(POD).unwrap();
    assert_eq!(*at(&pod, "/status/phase"), json!("Running"), "{pod:#}");
    assert_eq!(
        *at(&pod, "/status/containerStatuses/0/restartCount"),
        json!(0)
    );
    let mut note = |reason: &str| notes.remove(reason).unwrap();
    let near = "Container main of pod hungry/careful is at ";
    assert!(note("MemoryNearLimit").contains(near));
    let last = note("MemoryAtLimit");
    assert!(last.contains("SIGUSR2 was sent to 1 process"), "{last}");
    let bad = note("AnnotationNotHeeded");
    assert!(
        bad.contains("oom-bonker.dev/cooldown is not heeded"),
        "{bad}"
    );
    assert_eq!(notes.len(), 0, "{notes:#?}");
    requested_annotations_of_the_api_server(cluster);
}

/// The lines of the container, as the kubelet keeps them: `TIME STREAM F LINE`.
fn log(cluster: &Cluster) -> Option<String> {
    let mut pods = fs::read_dir(cluster.pod_logs()).ok()?.flatten();
    let ours = |pod: &fs::DirEntry| {
        pod.file_name()
            .to_string_lossy()
            .starts_with("hungry_careful_")
    };
    let log = fs::read_to_string(pods.find(ours)?.path().join("main/0.log")).ok()?;
    let lines = log.lines().filter_map(|line| line.splitn(4, ' ').nth(3));
    Some(lines.collect::<Vec<_>>().join("\n"))
}

/// As shipped, and with an annotation that has no effect.
fn apply(cluster: &Cluster, name: &str) {
    let shipped = workspace::root().join("deploy/careful.yaml");
    let mut pod: Value = serde_saphyr::from_str(&fs::read_to_string(shipped).unwrap()).unwrap();
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["namespace"] = json!("hungry");
    pod["metadata"]["annotations"]["oom-bonker.dev/cooldown"] = json!("soon");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pod.json");
    fs::write(&file, pod.to_string()).unwrap();
    let mut kubectl = cluster.api.kubectl();
    capture(kubectl.args(["apply", "--filename"]).arg(&file)).unwrap();
}

/// Of the agent's Events on that pod, by their reasons.
fn notes(cluster: &Cluster, pod: &str) -> BTreeMap<String, String> {
    let path = "/apis/events.k8s.io/v1/namespaces/hungry/events";
    let list = cluster.api.get(path).unwrap();
    let events = at(&list, "/items").as_array().unwrap();
    let ours = events.iter().filter(|event| {
        event["reportingController"] == "oom-bonker.dev/oom-agent"
            && event["regarding"]["name"] == pod
    });
    ours.map(|event| {
        (
            text(event, "/reason").to_owned(),
            text(event, "/note").to_owned(),
        )
    })
    .collect()
}

fn has_what_signals_take(pid: u32) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = u64::from_str_radix(effective.unwrap().trim(), 16).unwrap();
    // KILL, PERFMON and BPF of include/uapi/linux/capability.h.
    assert_eq!(effective, 1 << 5 | 1 << 38 | 1 << 39, "{effective:#x}");
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap();
    assert_eq!(namespace(&pid.to_string()), namespace("self"));
}

/// Its annotations are the API server's of now, not the runtime's of when it was made.
fn requested_annotations_of_the_api_server(cluster: &Cluster) {
    let audit = cluster.api.audit().unwrap();
    let was_requested = audit.iter().any(|request| {
        *at(request, "/user/username") == json!(ACCOUNT)
            && request.pointer("/verb") == Some(&json!("get"))
            && request.pointer("/objectRef/name") == Some(&json!("careful"))
    });
    assert!(was_requested);
}
