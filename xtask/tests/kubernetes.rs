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

use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::cri::{Gated, Pod, run_gated};
use support::{SOON, agent_bin, api_server, at, bonker_bin, containerd, text};
use xtask::lab::{Agent, ApiServer, Bonker, Containerd, field, message, wait};
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
        let api = api_server();
        create(
            &api,
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        );
        create(
            &api,
            &json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}),
        );
        create(
            &api,
            &json!({
                "apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": ACCOUNT, "namespace": NAMESPACE},
            }),
        );
        let stored = create(
            &api,
            &json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "hungry", "namespace": NAMESPACE},
                "spec": {
                    "nodeName": NODE,
                    "automountServiceAccountToken": false,
                    "containers": [{"name": "main", "image": "localhost/busybox:1"}],
                },
            }),
        );
        Self {
            bonker: Bonker::start(&bonker_bin()).unwrap(),
            containerd: containerd(),
            pod: Pod {
                namespace: NAMESPACE.to_owned(),
                name: "hungry".to_owned(),
                uid: text(&stored, "/metadata/uid").to_owned(),
            },
            api,
        }
    }

    /// What the agent's manifest grants: to create and patch events, nothing else.
    fn grant(&self) {
        create(
            &self.api,
            &json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": {"name": ACCOUNT},
                "rules": [{"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]}],
            }),
        );
        create(
            &self.api,
            &json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": {"name": ACCOUNT},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ACCOUNT},
                "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}],
            }),
        );
    }

    fn agent(&self, kubeconfig: &Path) -> Agent {
        let endpoint = format!("unix://{}", self.containerd.socket().display());
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
        let path = format!("/apis/events.k8s.io/v1/namespaces/{NAMESPACE}/events");
        wait::until("an Event", SOON, || {
            let list = self.api.get(&path).ok()?;
            let items = list.get("items")?.as_array()?;
            assert!(items.len() < 2, "one Event for one kill: {items:#?}");
            items.first().cloned()
        })
        .unwrap()
    }
}

/// The kill is told and bonked for, whatever became of the Event.
fn told_and_bonked(agent: &mut Agent, container: &Gated) {
    let incident = agent.incident_of(container.pid, SOON).unwrap();
    assert_eq!(*at(&incident, "/victims/0/pod/name"), json!("hungry"));
    agent.acknowledgement(text(&incident, "/id"), SOON).unwrap();
}

fn create(api: &ApiServer, object: &Value) -> Value {
    api.create(object).unwrap()
}

/// Waits until the log warns of something about Events that satisfies `tells`.
fn warned(agent: &mut Agent, tells: impl Fn(&str) -> bool) {
    agent
        .log
        .find("warning about the Event", SOON, |line| {
            let warns = matches!(field(line, "level")?.as_str(), "WARN" | "ERROR");
            (warns && message(line).is_some() && tells(line)).then_some(())
        })
        .unwrap();
}

#[test]
fn the_event_stands_on_the_pod_within_a_second() {
    let scene = Scene::new();
    scene.grant();
    let kubeconfig = scene.api.kubeconfig_for(NAMESPACE, ACCOUNT).unwrap();
    let mut agent = scene.agent(&kubeconfig);
    let container = scene.hungry();
    let opened: Instant = container.open();
    let event = scene.event();
    let took = opened.elapsed();
    println!("{took:?} from the first byte eaten to the Event");
    assert!(took < Duration::from_secs(1), "{took:?}");

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
    assert!(text(&event, "/note").contains("tail"), "{event:#}");
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
    let described =
        capture(
            scene
                .api
                .kubectl()
                .args(["describe", "pod", "hungry", "--namespace", NAMESPACE]),
        )
        .unwrap();
    assert!(described.contains(text(&event, "/reason")), "{described}");
    told_and_bonked(&mut agent, &container);
}

#[test]
fn a_refusal_is_told_and_costs_nothing_else() {
    let scene = Scene::new();
    let kubeconfig = scene.api.kubeconfig_for(NAMESPACE, ACCOUNT).unwrap();
    let mut agent = scene.agent(&kubeconfig);
    let container = scene.hungry();
    container.open();
    told_and_bonked(&mut agent, &container);
    warned(&mut agent, |line| {
        line.contains("403") || line.to_lowercase().contains("forbidden")
    });
}

#[test]
fn an_api_server_that_is_down_is_told_and_costs_nothing_else() {
    let mut scene = Scene::new();
    scene.grant();
    let kubeconfig = scene.api.kubeconfig_for(NAMESPACE, ACCOUNT).unwrap();
    scene.api.end();
    let mut agent = scene.agent(&kubeconfig);
    let container = scene.hungry();
    container.open();
    told_and_bonked(&mut agent, &container);
    warned(&mut agent, |line| line.to_lowercase().contains("event"));
}
