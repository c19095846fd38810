//! A pod OOM-killed beside a real API server with RBAC: its Event, and what
//! happens where the API server refuses or is gone.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test, in helpers too"
)]

mod support;
mod watch_pods;

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use lab::{Agent, ApiServer, Bonker, Cgroup, Containerd, field, message, refusing_url, wait};
use serde_json::{Value, json};
use support::cri::{Gated, Pod, run_gated};
use support::{MIB, SOON, agent_bin, api_server, at, bonker_bin, containerd, text};
use xtask::process::capture;

const NODE: &str = "node-a";
const NAMESPACE: &str = "penguins";
const ACCOUNT: &str = "oom-agent";

/// An API server, a containerd and a bonker, with one pod in the API and a
/// namespace with the agent's service account.
struct Scene {
    bonker: Bonker,
    containerd: Containerd,
    api: ApiServer,
    pod: Pod,
}

impl Scene {
    fn new() -> Self {
        Self::with_annotations(&json!({}))
    }

    /// As it is with a pod that has those annotations.
    fn with_annotations(annotations: &Value) -> Self {
        let api = api_server();
        api.create_account(NODE, NAMESPACE, ACCOUNT).unwrap();
        let stored = create(
            &api,
            &json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "hungry", "namespace": NAMESPACE, "annotations": annotations},
                "spec": {
                    "nodeName": NODE,
                    "automountServiceAccountToken": false,
                    "containers": [{"name": "main", "image": "localhost/busybox:1"}],
                    "initContainers": [{"name": "setup", "image": "localhost/busybox:1"}],
                },
            }),
        );
        Self {
            bonker: Bonker::start(&bonker_bin(), &[]).unwrap(),
            containerd: containerd(),
            pod: Pod {
                namespace: NAMESPACE.to_owned(),
                name: "hungry".to_owned(),
                uid: text(&stored, "/metadata/uid").to_owned(),
                annotations: Vec::new(),
            },
            api,
        }
    }

    fn grant(&self) {
        self.grant_rules(&ApiServer::agent_rules());
    }

    fn grant_rules(&self, rules: &Value) {
        self.api.grant(NAMESPACE, ACCOUNT, rules).unwrap();
    }

    fn agent(&self, kubeconfig: &Path) -> Agent {
        self.agent_at(kubeconfig, &self.containerd.socket())
    }

    /// With a container runtime elsewhere.
    fn agent_at(&self, kubeconfig: &Path, socket: &Path) -> Agent {
        let endpoint = format!("unix://{}", socket.display());
        let args: [&OsStr; 6] = [
            "--cri-endpoint".as_ref(),
            endpoint.as_ref(),
            "--kubeconfig".as_ref(),
            kubeconfig.as_ref(),
            "--bonker".as_ref(),
            self.bonker.url().as_ref(),
        ];
        Agent::start(&agent_bin(), &args, &[("NODE_NAME", NODE.as_ref())]).unwrap()
    }

    fn hungry(&self) -> Gated {
        run_gated(&self.containerd, &self.pod, "main", "exec tail /dev/zero")
    }

    /// The agent's only Event, as the API has it.
    fn event(&self) -> Value {
        wait::until("an Event", SOON, || {
            let items = self.events()?;
            assert!(items.len() < 2, "one Event for one kill: {items:#?}");
            items.into_iter().next()
        })
        .unwrap()
    }

    /// All Events beside the pod.
    fn events(&self) -> Option<Vec<Value>> {
        let path = format!("/apis/events.k8s.io/v1/namespaces/{NAMESPACE}/events");
        let list = self.api.get(&path).ok()?;
        Some(list.get("items")?.as_array()?.clone())
    }

    /// Those of kills, and those of what Kubernetes makes of them.
    fn events_and_verdicts(&self) -> Option<(Vec<Value>, Vec<Value>)> {
        let is_kill = |event: &Value| event["action"] == "Kill";
        Some(self.events()?.into_iter().partition(is_kill))
    }

    fn describe(&self, what: &[&str]) -> String {
        capture(self.api.kubectl().arg("describe").args(what)).unwrap()
    }
}

/// The kill is reported and bonked for, whatever happens to the Event.
fn is_reported_and_bonked(agent: &mut Agent, container: &Gated) {
    let incident = agent.incident_of(container.pid, SOON).unwrap();
    assert_eq!(*at(&incident, "/victims/0/pod/name"), json!("hungry"));
    agent.acknowledgement(text(&incident, "/id"), SOON).unwrap();
}

fn annotation(event: &Value, key: &str) -> Value {
    event["metadata"]["annotations"][format!("oom-bonker.dev/{key}")].clone()
}

fn create(api: &ApiServer, object: &Value) -> Value {
    api.create(object).unwrap()
}

/// Waits until the log warns of something about Events that satisfies `matches`.
fn warned(agent: &mut Agent, matches: impl Fn(&str) -> bool) {
    agent
        .log
        .find("warning about the Event", SOON, |line| {
            let warns = matches!(field(line, "level")?.as_str(), "WARN" | "ERROR");
            (warns && message(line).is_some() && matches(line)).then_some(())
        })
        .unwrap();
}

#[test]
fn the_event_stands_on_the_pod() {
    let scene = Scene::new();
    scene.grant();
    let kubeconfig = scene.api.kubeconfig_for(NAMESPACE, ACCOUNT).unwrap();
    let mut agent = scene.agent(&kubeconfig);
    let container = scene.hungry();
    let opened: Instant = container.open();
    let event = scene.event();
    let took = opened.elapsed();
    println!("{took:?} from the first byte eaten to the Event");

    assert_eq!(*at(&event, "/regarding/kind"), json!("Pod"));
    assert_eq!(*at(&event, "/regarding/apiVersion"), json!("v1"));
    assert_eq!(*at(&event, "/regarding/namespace"), json!(NAMESPACE));
    assert_eq!(*at(&event, "/regarding/name"), json!("hungry"));
    assert_eq!(*at(&event, "/regarding/uid"), json!(scene.pod.uid));
    assert_eq!(
        *at(&event, "/regarding/fieldPath"),
        json!("spec.containers{main}")
    );
    assert_eq!(*at(&event, "/related/kind"), json!("Node"));
    assert_eq!(*at(&event, "/related/name"), json!(NODE));
    assert_eq!(*at(&event, "/type"), json!("Warning"));
    assert!(!text(&event, "/reason").is_empty());
    assert!(!text(&event, "/action").is_empty());
    assert!(
        text(&event, "/reportingController").contains("oom"),
        "{event:#}"
    );
    assert!(!text(&event, "/reportingInstance").is_empty());
    let note = text(&event, "/note");
    assert!(
        note.contains("tail") && note.contains("Next: "),
        "{event:#}"
    );
    assert_eq!(annotation(&event, "container-kind"), json!("container"));
    let degraded = annotation(&event, "degraded").to_string();
    assert!(!degraded.contains("owner"), "{degraded}");
    let incident = agent.incident_of(container.pid, SOON).unwrap();
    let marked = text(&incident, "/time").get(..26).unwrap().to_owned();
    assert_eq!(
        text(&event, "/eventTime").get(..26),
        Some(marked.as_str()),
        "the kernel's stamp"
    );

    let shown = capture(
        scene
            .api
            .kubectl()
            .args(["get", "events", "--namespace", NAMESPACE]),
    )
    .unwrap();
    let line = shown
        .lines()
        .find(|line| line.contains("pod/hungry"))
        .unwrap();
    assert!(
        line.contains("Warning") && line.contains(text(&event, "/reason")),
        "{shown}"
    );
    let described = scene.describe(&["pod", "hungry", "--namespace", NAMESPACE]);
    assert!(described.contains(text(&event, "/reason")), "{described}");
    is_reported_and_bonked(&mut agent, &container);
}

#[test]
fn what_the_agent_reports_the_controller_only_counts() {
    let scene = Scene::new();
    scene.grant();
    let kubeconfig = scene.api.kubeconfig_for(NAMESPACE, ACCOUNT).unwrap();
    let mut agent = scene.agent(&kubeconfig);
    let container = scene.hungry();
    container.open();
    let event = scene.event();
    let incident = agent.incident_of(container.pid, SOON).unwrap();
    let id = text(&incident, "/victims/0/container/id");
    let second = text(&event, "/eventTime").get(..19).unwrap();
    let mut controller = watch_pods::controller(&scene.api, &["--grace", "0", "--no-lease"]);
    watch_pods::kill(&scene.api, NAMESPACE, "hungry", id, &format!("{second}Z"));
    let fate = watch_pods::fate(&mut controller, id.get(..16).unwrap());
    assert_eq!(fate, "oomkilled_told_by_agent");
    scene.event();
}

#[test]
fn an_init_containers_event_names_its_own_list() {
    let scene = Scene::new();
    scene.grant();
    let kubeconfig = scene.api.kubeconfig_for(NAMESPACE, ACCOUNT).unwrap();
    let _agent = scene.agent(&kubeconfig);
    let container = run_gated(
        &scene.containerd,
        &scene.pod,
        "setup",
        "exec tail /dev/zero",
    );
    container.open();
    let event = scene.event();
    assert_eq!(
        *at(&event, "/regarding/fieldPath"),
        json!("spec.initContainers{setup}")
    );
}

#[test]
fn without_the_right_to_read_pods_the_event_stands_and_shows_it() {
    let scene = Scene::new();
    scene.grant_rules(&json!([
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
    ]));
    let kubeconfig = scene.api.kubeconfig_for(NAMESPACE, ACCOUNT).unwrap();
    let mut agent = scene.agent(&kubeconfig);
    let container = scene.hungry();
    container.open();
    let event = scene.event();
    assert_eq!(
        *at(&event, "/regarding/fieldPath"),
        json!("spec.containers{main}")
    );
    let degraded = annotation(&event, "degraded").to_string();
    assert!(degraded.contains("`get` and `list` on `pods`"), "{event:#}");
    warned(&mut agent, |line| line.contains("pods may not be read"));
}

#[test]
fn without_a_runtime_the_api_server_names_the_pod() {
    let scene = Scene::new();
    scene.grant();
    let kubeconfig = scene.api.kubeconfig_for(NAMESPACE, ACCOUNT).unwrap();
    let mut agent = scene.agent_at(&kubeconfig, Path::new("/nonexistent/runtime.sock"));
    let container = scene.hungry();
    container.open();
    let event = scene.event();
    assert_eq!(*at(&event, "/regarding/name"), json!("hungry"));
    assert_eq!(*at(&event, "/regarding/uid"), json!(scene.pod.uid));
    // The line does not wait for it.
    let incident = agent.incident_of(container.pid, SOON).unwrap();
    assert_eq!(*at(&incident, "/victims/0/pod/name"), json!(null));
}

#[test]
fn a_static_pods_event_is_what_kubectl_describe_shows() {
    let key = "9729a196c4723b60ab401eaff722982d";
    let mut scene = Scene::with_annotations(&json!({
        "kubernetes.io/config.mirror": key, "kubernetes.io/config.hash": key,
        "kubernetes.io/config.source": "file",
    }));
    scene.grant();
    // So the runtime and the cgroup have it.
    let stored = std::mem::replace(&mut scene.pod.uid, key.to_owned());
    let kubeconfig = scene.api.kubeconfig_for(NAMESPACE, ACCOUNT).unwrap();
    let _agent = scene.agent(&kubeconfig);
    let container = scene.hungry();
    container.open();
    let event = scene.event();
    assert_eq!(*at(&event, "/regarding/uid"), json!(key));
    assert_eq!(annotation(&event, "pod-api-uid"), json!(stored));
    let described = scene.describe(&["pod", "hungry", "--namespace", NAMESPACE]);
    assert!(described.contains(text(&event, "/reason")), "{described}");
}

#[test]
fn a_host_process_has_its_event_on_the_node() {
    let scene = Scene::new();
    scene.grant();
    let kubeconfig = scene.api.kubeconfig_for(NAMESPACE, ACCOUNT).unwrap();
    let mut agent = scene.agent(&kubeconfig);
    let cgroup = Cgroup::new(64 * MIB).unwrap();
    let mut command = cgroup.command("tail");
    command.arg("/dev/zero").stdout(Stdio::null());
    let mut victim = command.spawn().unwrap();
    victim.wait().unwrap();
    let incident = agent.incident_in(cgroup.path(), SOON).unwrap();
    let name = format!("{NODE}.{}", text(&incident, "/id"));
    let path = format!("/apis/events.k8s.io/v1/namespaces/default/events/{name}");
    let event = wait::until("the Node's Event", SOON, || scene.api.get(&path).ok()).unwrap();
    assert_eq!(*at(&event, "/regarding/kind"), json!("Node"));
    assert_eq!(*at(&event, "/regarding/uid"), json!(NODE));
    assert_eq!(annotation(&event, "scope"), json!("ancestor"));
    let described = scene.describe(&["node", NODE]);
    assert!(described.contains(text(&event, "/reason")), "{described}");
}

#[test]
fn a_kill_that_kubernetes_misses_has_an_event_of_the_mismatch_too() {
    let scene = Scene::new();
    scene.grant();
    let kubeconfig = scene.api.kubeconfig_for(NAMESPACE, ACCOUNT).unwrap();
    let mut agent = scene.agent(&kubeconfig);
    let container = run_gated(
        &scene.containerd,
        &scene.pod,
        "main",
        "tail /dev/zero; sleep 2147483647",
    );
    container.open();
    let incident = agent.incident_in(&container.cgroup, SOON).unwrap();
    let verdict = wait::until("the verdict", SOON, || {
        scene.events_and_verdicts()?.1.into_iter().next()
    })
    .unwrap();
    assert_eq!(*at(&verdict, "/reason"), json!("OOMKillMissed"));
    assert_eq!(*at(&verdict, "/type"), json!("Warning"));
    assert_eq!(*at(&verdict, "/regarding/name"), json!("hungry"));
    assert_eq!(*at(&verdict, "/regarding/uid"), json!(scene.pod.uid));
    assert_eq!(
        *at(&verdict, "/regarding/fieldPath"),
        json!("spec.containers{main}")
    );
    assert_eq!(annotation(&verdict, "incident"), *at(&incident, "/id"));
    assert_eq!(annotation(&verdict, "verdict"), json!("missed"));
    assert_eq!(annotation(&verdict, "status-state"), json!("running"));
    let described = scene.describe(&["pod", "hungry", "--namespace", NAMESPACE]);
    assert!(
        described.contains("Kubernetes does not report this kill: tail"),
        "{described}"
    );
    assert_eq!(scene.events_and_verdicts().unwrap().0.len(), 1);
}

/// Kills of one container, one after the other: as many as have an Event each, and some more.
const KILLS: usize = 30;
const BURST: usize = 25;

#[test]
fn each_kill_has_its_event_until_there_are_too_many() {
    let scene = Scene::new();
    scene.grant();
    let kubeconfig = scene.api.kubeconfig_for(NAMESPACE, ACCOUNT).unwrap();
    let _agent = scene.agent(&kubeconfig);
    let eat = format!(
        "n=0; while [ $n -lt {KILLS} ]; do tail /dev/zero; n=$((n + 1)); done; exec sleep 600"
    );
    let container = run_gated(&scene.containerd, &scene.pod, "main", &eat);
    container.open();
    // The rest is counted on the last Event, within ten seconds of the first of them.
    let rest = KILLS - BURST + 1;
    let count = |event: &Value| event.pointer("/series/count").and_then(Value::as_u64);
    let events = wait::until("the series", SOON * 2, || {
        let (events, _) = scene.events_and_verdicts()?;
        let series = events.iter().find_map(count)?;
        (series == rest as u64).then_some(events)
    })
    .unwrap();
    assert_eq!(events.len(), BURST);
    // What Kubernetes misses of all of them is one Event.
    let verdicts = wait::until("the verdicts' series", SOON * 2, || {
        let (_, verdicts) = scene.events_and_verdicts()?;
        (verdicts.iter().find_map(count)? == KILLS as u64).then_some(verdicts)
    })
    .unwrap();
    assert_eq!(verdicts.len(), 1);
    let victims: std::collections::HashSet<String> = events
        .iter()
        .map(|event| annotation(event, "victims").to_string())
        .collect();
    assert_eq!(victims.len(), BURST, "each with its own pid");
}

#[test]
fn a_refusal_is_logged_and_costs_nothing_else() {
    let scene = Scene::new();
    let kubeconfig = scene.api.kubeconfig_for(NAMESPACE, ACCOUNT).unwrap();
    let mut agent = scene.agent(&kubeconfig);
    let container = scene.hungry();
    container.open();
    is_reported_and_bonked(&mut agent, &container);
    warned(&mut agent, |line| {
        line.contains("403") || line.to_lowercase().contains("forbidden")
    });
}

#[test]
fn an_event_that_is_pending_when_the_agent_is_killed_is_written_by_the_next_one_once() {
    let scene = Scene::new();
    scene.grant();
    let kubeconfig = scene.api.kubeconfig_for(NAMESPACE, ACCOUNT).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    // The same server, which does not listen yet.
    let (url, _port) = refusing_url().unwrap();
    let away = dir.path().join("away");
    let text_of = std::fs::read_to_string(&kubeconfig).unwrap();
    let config: Value = serde_json::from_str(&text_of).unwrap();
    let server = text(&config, "/clusters/0/cluster/server");
    std::fs::write(&away, text_of.replace(server, &url)).unwrap();
    let endpoint = format!("unix://{}", scene.containerd.socket().display());
    let agent = |kubeconfig: &Path| {
        let args: [&OsStr; 6] = [
            "--cri-endpoint".as_ref(),
            endpoint.as_ref(),
            "--kubeconfig".as_ref(),
            kubeconfig.as_ref(),
            "--state".as_ref(),
            state.as_ref(),
        ];
        Agent::start(&agent_bin(), &args, &[("NODE_NAME", NODE.as_ref())]).unwrap()
    };
    let mut first = agent(&away);
    let container = scene.hungry();
    container.open();
    first.incident_of(container.pid, SOON).unwrap();
    warned(&mut first, |line| line.contains("not recorded yet"));
    first.crash();

    let mut second = agent(&kubeconfig);
    let event = scene.event();
    assert_eq!(*at(&event, "/regarding/name"), json!("hungry"));
    second
        .log
        .find("record of the Event", SOON, |line| {
            (message(line)? == "event recorded").then_some(())
        })
        .unwrap();
    second.end();
    let mut third = agent(&kubeconfig);
    third.end();
    let again = third.log.to_end(SOON);
    let offered = again.iter().any(|line| line.contains("offered again"));
    assert!(!offered, "it is kept no more");
    assert_eq!(scene.events().unwrap().len(), 1);
}

#[test]
fn an_api_server_that_is_down_is_logged_and_costs_nothing_else() {
    let mut scene = Scene::new();
    scene.grant();
    let kubeconfig = scene.api.kubeconfig_for(NAMESPACE, ACCOUNT).unwrap();
    scene.api.end();
    let mut agent = scene.agent(&kubeconfig);
    let container = scene.hungry();
    container.open();
    is_reported_and_bonked(&mut agent, &container);
    warned(&mut agent, |line| line.to_lowercase().contains("event"));
}
