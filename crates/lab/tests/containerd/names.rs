//! Names that are known before a kill; and two nodes on one kernel, each with an agent.

use lab::{Agent, Containerd, NestedNode, wait};
use serde_json::{Value, json};
use xtask::cache::Cache;
use xtask::debian::{Consent, Debian};

use crate::support::admin::{Admin, LISTEN};
use crate::support::cri::{Pod, Sandbox, run_gated};
use crate::support::{SOON, agent_bin, at, containerd, degraded, text};

fn pod(name: &str, uid: &str) -> Pod {
    Pod {
        namespace: "penguins".to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        annotations: Vec::new(),
    }
}

const UID: &str = "6a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e";
const OTHER: &str = "8712f785-1a3e-41ec-a00b-e2dcc77431cb";

fn is_unnamed(incident: &Value) -> bool {
    ["container.name", "pod"]
        .map(|field| format!("victims[0].{field}"))
        .iter()
        .any(|field| degraded(incident, field))
}

/// Its container is named though no runtime answers any more.
fn named_without_a_runtime(args: &[&str]) {
    let mut containerd = containerd();
    let endpoint = format!("unix://{}", containerd.socket().display());
    let mut all = vec!["--no-kubernetes", "--cri-endpoint", &endpoint];
    all.extend(LISTEN);
    all.extend(args);
    let before = run_gated(
        &containerd,
        &pod("before", UID),
        "main",
        "exec tail /dev/zero",
    );
    let mut agent = Agent::start(&agent_bin(), &all, &[]).unwrap();
    let admin = Admin::of_agent(&mut agent);
    let after = run_gated(
        &containerd,
        &pod("after", OTHER),
        "main",
        "exec tail /dev/zero",
    );
    // Two containers and two sandboxes.
    admin.until("oom_agent_known_names", 4.0);
    containerd.crash();
    for (container, name) in [(&before, "before"), (&after, "after")] {
        container.open();
        let incident = agent.incident_of(container.pid, SOON).unwrap();
        assert_eq!(*at(&incident, "/victims/0/pod/name"), json!(name));
        assert_eq!(*at(&incident, "/victims/0/container/name"), json!("main"));
        assert!(!is_unnamed(&incident), "{incident:#}");
    }
    containerd.restart().unwrap();
}

#[test]
fn a_kill_is_named_while_the_runtime_is_away() {
    named_without_a_runtime(&[]);
}

#[test]
fn it_is_so_without_the_sampler_too() {
    named_without_a_runtime(&["--sample", "off"]);
}

#[test]
fn a_process_in_a_pods_sandbox_is_its_pods() {
    let containerd = containerd();
    let endpoint = format!("unix://{}", containerd.socket().display());
    let args = ["--no-kubernetes", "--cri-endpoint", &endpoint];
    let mut agent = Agent::start(&agent_bin(), &args, &[]).unwrap();
    let sandbox = Sandbox::run(&containerd, &pod("hungry", UID));
    // As a virtual machine's monitor is, and a kernel of gVisor's.
    let (mut eater, cgroup) = sandbox.eat_beside_pause();
    let incident = agent.incident_of(eater.id(), SOON).unwrap();
    eater.wait().unwrap();
    assert_eq!(*at(&incident, "/victims/0/cgroup"), json!(cgroup));
    assert_eq!(
        *at(&incident, "/victims/0/pod"),
        json!({"namespace": "penguins", "name": "hungry", "uid": UID})
    );
    assert_eq!(*at(&incident, "/victims/0/container/name"), json!(null));
    assert!(!is_unnamed(&incident), "{incident:#}");
}

#[test]
fn each_of_two_nodes_on_one_kernel_reports_its_own_pods_only() {
    let debian = Debian::new(Consent::Confirm).unwrap();
    let parts = Containerd::prepare(&Cache::open().unwrap(), debian).unwrap();
    let nodes = [(); 2].map(|()| NestedNode::start(&parts).unwrap());
    let mut agents = nodes.each_ref().map(|node| {
        let endpoint = format!("unix://{}", node.containerd.socket().display());
        let mut args = vec![
            "--no-kubernetes",
            "--cgroupfs=/sys/fs/cgroup",
            "--cri-endpoint",
        ];
        args.push(&endpoint);
        args.extend(LISTEN);
        let mut agent = node.start_agent(&agent_bin(), &args).unwrap();
        let admin = Admin::of_agent(&mut agent);
        (agent, admin)
    });
    let pods = [pod("one", UID), pod("two", OTHER)];
    let mut killed = Vec::new();
    for (node, pod) in nodes.iter().zip(&pods) {
        let container = run_gated(&node.containerd, pod, "main", "exec tail /dev/zero");
        container.open();
        killed.push(container);
    }
    for (n, (agent, admin)) in agents.iter_mut().enumerate() {
        let incident = agent.incident_of(killed[n].pid, SOON).unwrap();
        let pod = at(&incident, "/victims/0/pod");
        assert_eq!(*at(pod, "/name"), json!(pods[n].name));
        assert_eq!(*at(&incident, "/victims/0/container/name"), json!("main"));
        let cgroup = text(&incident, "/victims/0/cgroup");
        assert!(cgroup.starts_with(&nodes[n].root()), "{cgroup}");
        // Its memory is found in the part of the hierarchy that the node has.
        assert_ne!(
            *at(&incident, "/memory/0/stat"),
            json!(null),
            "{incident:#}"
        );
        assert!(!is_unnamed(&incident), "{incident:#}");
        // What is in no pod is the node's own, and in no container that others would know.
        let (mut eater, path) = nodes[n].eat_outside_of_pods().unwrap();
        let incident = agent.incident_in(&path, SOON).unwrap();
        eater.wait().unwrap();
        assert_eq!(*at(&incident, "/victims/0/container"), json!(null));
        wait::until("the other node's kill", SOON, || {
            (admin.series("oom_agent_other_node_incidents_total")? >= 1.0).then_some(())
        })
        .unwrap();
    }
    for (n, (mut agent, _)) in agents.into_iter().enumerate() {
        agent.end();
        for line in agent.incidents.so_far() {
            let incident: Value = serde_json::from_str(line).unwrap();
            let cgroup = text(&incident, "/victims/0/cgroup").to_owned();
            assert!(cgroup.starts_with(&nodes[n].root()), "{cgroup}");
        }
    }
}
