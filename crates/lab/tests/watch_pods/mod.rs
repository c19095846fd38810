//! `oom-agent watch-pods` with the rights of its manifest, against pods whose status a kubelet could have written.

use lab::{Agent, ApiServer, Bonker, field, message, wait};
use rustix::process::Signal;
use serde_json::{Value, json};
use xtask::process::capture;

use crate::support::admin::{Admin, LISTEN};
use crate::support::{SOON, agent_bin, api_server, at, bonker_bin, text};

const HOME: &str = "oom-bonker-controller";
const ACCOUNT: &str = "oom-agent-watch-pods";
const SHOP: &str = "shop";
const REASON: &str = "PreviousContainerWasOOMKilled";

struct Scene {
    api: ApiServer,
    /// Its moment is near enough to be reported.
    now: String,
}

impl Scene {
    fn new() -> Self {
        let api = api_server();
        deploy(&api);
        let shop = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP}});
        let stored = api.create(&shop).unwrap();
        let now = text(&stored, "/metadata/creationTimestamp").to_owned();
        Self { api, now }
    }

    fn controller(&self, args: &[&str]) -> Agent {
        start(&self.api, args)
    }

    /// Gives its uid.
    fn pod(&self, name: &str) -> String {
        let container = |name| json!({"name": name, "image": "localhost/busybox:1"});
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": SHOP},
            "spec": {
                "nodeName": "node-a", "automountServiceAccountToken": false,
                "initContainers": [container("fill")],
                "containers": [container("main"), container("sibling")],
            },
        });
        text(&self.api.create(&pod).unwrap(), "/metadata/uid").to_owned()
    }

    /// As a kubelet does.
    fn set(&self, pod: &str, list: &str, statuses: &[Value]) {
        set(&self.api, SHOP, pod, list, statuses);
    }

    fn killed(&self, id: &str) -> Value {
        killed(id, &self.now)
    }

    /// Waits for that many, and gives all there are.
    fn events(&self, count: usize) -> Vec<Value> {
        let path = format!("/apis/events.k8s.io/v1/namespaces/{SHOP}/events");
        wait::until(&format!("{count} Events"), SOON, || {
            let list = self.api.get(&path).ok()?;
            let items = at(&list, "/items").as_array()?;
            let ours = items.iter().filter(|event| event["reason"] == REASON);
            let ours: Vec<Value> = ours.cloned().collect();
            (ours.len() >= count).then_some(ours)
        })
        .unwrap()
    }

    /// The dead containers with Events.
    fn reported(&self, count: usize) -> Vec<String> {
        let id = |event: &Value| {
            let annotations = at(event, "/metadata/annotations");
            annotations["oom-bonker.dev/container-id"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        let mut all: Vec<String> = self.events(count).iter().map(id).collect();
        all.sort();
        all
    }
}

/// What the manifest makes.
fn deploy(api: &ApiServer) {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/controller.yaml");
    capture(api.kubectl().args(["create", "--filename", manifest])).unwrap();
}

/// A controller as its manifest starts it.
pub(crate) fn controller(api: &ApiServer, args: &[&str]) -> Agent {
    deploy(api);
    start(api, args)
}

fn start(api: &ApiServer, args: &[&str]) -> Agent {
    let path = api.kubeconfig_for(HOME, ACCOUNT).unwrap();
    // In a pod, the account's own namespace.
    let config = std::fs::read_to_string(&path).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["contexts"][0]["context"]["namespace"] = json!(HOME);
    std::fs::write(&path, config.to_string()).unwrap();
    Agent::start_controller(&agent_bin(), &path, args).unwrap()
}

/// The pod's container `main` ended so, by its status.
pub(crate) fn kill(api: &ApiServer, namespace: &str, pod: &str, id: &str, time: &str) {
    let main = status("main", 0, &killed(id, time), &json!({}));
    set(api, namespace, pod, "containerStatuses", &[main]);
}

fn killed(id: &str, time: &str) -> Value {
    json!({"terminated": {
        "containerID": format!("containerd://{id}"), "reason": "OOMKilled", "exitCode": 137,
        "startedAt": time, "finishedAt": time,
    }})
}

fn set(api: &ApiServer, namespace: &str, pod: &str, list: &str, statuses: &[Value]) {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}");
    let mut object = api.get(&path).unwrap();
    object["status"][list] = json!(statuses);
    api.put(&format!("{path}/status"), &object).unwrap();
}

fn status(name: &str, restarts: u32, state: &Value, last: &Value) -> Value {
    json!({"name": name, "image": "i", "imageID": "i", "ready": false, "restartCount": restarts,
        "containerID": format!("containerd://{name}-{restarts}"), "state": state, "lastState": last})
}

fn running() -> Value {
    json!({"running": {}})
}

/// The fate of the kill of that id, as the log has it.
pub(crate) fn fate(controller: &mut Agent, id: &str) -> String {
    controller
        .log
        .find(&format!("fate of {id}"), SOON, |line| {
            let ours = message(line)? == "kill" && field(line, "id")?.contains(&format!("-{id}-"));
            ours.then(|| field(line, "outcome")).flatten()
        })
        .unwrap()
}

#[test]
fn every_kill_has_one_event_whatever_comes_after_it() {
    let scene = Scene::new();
    let uid = scene.pod("hungry");
    let bonker = Bonker::start(&bonker_bin(), &[]).unwrap();
    let mut args = vec!["--grace", "0", "--bonker", bonker.url()];
    args.extend(LISTEN);
    let mut controller = scene.controller(&args);
    controller.find_message("all pods are seen", SOON).unwrap();
    let none = json!({});
    let main = status("main", 1, &running(), &scene.killed("dead1"));
    let sibling = |restarts| status("sibling", restarts, &running(), &none);
    scene.set("hungry", "containerStatuses", &[main.clone(), sibling(0)]);
    let event = scene.events(1).remove(0);
    assert_eq!(*at(&event, "/type"), json!("Warning"));
    assert_eq!(
        *at(&event, "/note"),
        json!("The previous instance of the container 'main' (containerd://dead1) was OOMKilled")
    );
    assert_eq!(*at(&event, "/regarding/uid"), json!(uid));
    assert_eq!(
        *at(&event, "/regarding/fieldPath"),
        json!("spec.containers{main}")
    );
    assert_eq!(*at(&event, "/related/name"), json!("node-a"));
    let line: Value = controller
        .incidents
        .find("the line", SOON, |line| serde_json::from_str(line).ok())
        .unwrap();
    assert_eq!(*at(&line, "/victims/0/container/id"), json!("dead1"));
    assert_eq!(*at(&line, "/victims/0/pod/uid"), json!(uid));

    controller.find_message("bonk acknowledged", SOON).unwrap();

    // A sibling restarts, then an init container is killed, and one that never restarts.
    scene.set("hungry", "containerStatuses", &[main.clone(), sibling(1)]);
    let fill = status("fill", 0, &scene.killed("dead2"), &none);
    scene.set("hungry", "initContainerStatuses", &[fill]);
    scene.pod("once");
    let once = status("main", 0, &scene.killed("dead3"), &none);
    scene.set("once", "containerStatuses", &[once]);
    assert_eq!(scene.reported(3), ["dead1", "dead2", "dead3"]);
    let init = scene
        .events(3)
        .into_iter()
        .find(|event| *at(event, "/regarding/fieldPath") == json!("spec.initContainers{fill}"));
    assert!(init.is_some());

    let admin = Admin::find_in(&mut controller.log);
    let sent = "oom_agent_watch_updates_total{update_type=\"oomkilled_event_sent\"}";
    admin.until(sent, 3.0);
    assert_eq!(admin.get("/ready").0, 200);

    controller.end();
    let mut controller = scene.controller(&["--grace", "0"]);
    for id in ["dead1", "dead2", "dead3"] {
        assert_eq!(fate(&mut controller, id), "oomkilled_told_before");
    }
    let again = status("main", 2, &running(), &scene.killed("dead4"));
    scene.set("hungry", "containerStatuses", &[again, sibling(1)]);
    assert_eq!(scene.reported(4), ["dead1", "dead2", "dead3", "dead4"]);
    assert_eq!(fate(&mut controller, "dead4"), "oomkilled_event_sent");
    assert_eq!(
        controller
            .incidents
            .so_far()
            .filter(|line| !line.contains("dead4"))
            .count(),
        0
    );
}

#[test]
fn a_kill_of_which_the_api_server_keeps_no_change_is_reported_once() {
    let mut scene = Scene::new();
    scene.pod("hungry");
    let mut controller = scene.controller(&["--grace", "0", "--no-lease"]);
    let none = json!({});
    let killed = |id, restarts| status("main", restarts, &killed(id, &scene.now), &none);
    let [first, second, third] = [killed("dead1", 0), killed("dead2", 1), killed("dead3", 2)];
    scene.set("hungry", "containerStatuses", &[first]);
    assert_eq!(fate(&mut controller, "dead1"), "oomkilled_event_sent");

    // Its watch breaks before the kill, whose change neither etcd nor the next server keeps.
    controller.signal(Signal::STOP).unwrap();
    scene.api.crash();
    scene.api.restart().unwrap();
    scene.set("hungry", "containerStatuses", &[second]);
    scene.api.compact().unwrap();
    scene.api.crash();
    scene.api.restart().unwrap();
    controller.signal(Signal::CONT).unwrap();
    controller
        .find_message("pods are listed again", SOON)
        .unwrap();
    assert_eq!(fate(&mut controller, "dead2"), "oomkilled_event_sent");

    scene.set("hungry", "containerStatuses", &[third]);
    assert_eq!(fate(&mut controller, "dead3"), "oomkilled_event_sent");
    assert_eq!(scene.reported(3), ["dead1", "dead2", "dead3"]);
    controller.end();
    let mut lines = Vec::new();
    for line in controller.incidents.so_far() {
        let line: Value = serde_json::from_str(line).unwrap();
        lines.push(text(&line, "/victims/0/container/id").to_owned());
    }
    assert_eq!(lines, ["dead1", "dead2", "dead3"]);
}

#[test]
fn of_two_replicas_one_reports_and_the_other_goes_on_when_it_ends() {
    let scene = Scene::new();
    scene.pod("hungry");
    let mut first = scene.controller(&["--grace", "0"]);
    first.find_message("leading", SOON).unwrap();
    let mut second = scene.controller(&["--grace", "0"]);
    second.find_message("standing by", SOON).unwrap();
    let none = json!({});
    let killed = |id| status("main", 0, &scene.killed(id), &none);
    scene.set("hungry", "containerStatuses", &[killed("dead1")]);
    assert_eq!(scene.reported(1), ["dead1"]);
    first.end();
    second.find_message("leading", SOON).unwrap();
    assert_eq!(fate(&mut second, "dead1"), "oomkilled_told_before");
    scene.set("hungry", "containerStatuses", &[killed("dead2")]);
    assert_eq!(scene.reported(2), ["dead1", "dead2"]);
    assert_eq!(second.incidents.so_far().count(), 1);
}

#[test]
fn what_an_agent_has_reported_is_only_counted() {
    let scene = Scene::new();
    let uid = scene.pod("hungry");
    scene.pod("other");
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"name": "hungry.1", "namespace": SHOP,
            "annotations": {"oom-bonker.dev/container-id": "dead1"}},
        "type": "Warning", "reason": "OOMKilled", "action": "Kill", "note": "as the agent does",
        "eventTime": scene.now.replace('Z', ".000000Z"),
        "reportingController": "oom-bonker.dev/oom-agent", "reportingInstance": "node-a",
        "regarding": {"apiVersion": "v1", "kind": "Pod", "namespace": SHOP, "name": "hungry", "uid": uid,
            "fieldPath": "spec.containers{main}"},
    });
    scene.api.create(&event).unwrap();
    let mut controller = scene.controller(&["--grace", "0", "--no-lease"]);
    let none = json!({});
    let killed = |id| status("main", 0, &scene.killed(id), &none);
    scene.set("hungry", "containerStatuses", &[killed("dead1")]);
    scene.set("other", "containerStatuses", &[killed("dead2")]);
    assert_eq!(fate(&mut controller, "dead1"), "oomkilled_told_by_agent");
    assert_eq!(scene.reported(1), ["dead2"]);
}

#[test]
fn the_manifest_needs_no_more_than_a_restricted_namespace_gives() {
    let scene = Scene::new();
    let path = format!("/apis/apps/v1/namespaces/{HOME}/deployments/{ACCOUNT}");
    let deployment = scene.api.get(&path).unwrap();
    let spec = at(&deployment, "/spec/template/spec");
    assert_eq!(*at(spec, "/securityContext/runAsNonRoot"), json!(true));
    let profile = at(spec, "/securityContext/seccompProfile/type");
    assert_eq!(*profile, json!("RuntimeDefault"));
    let container = at(spec, "/containers/0/securityContext");
    let expected = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]}});
    assert_eq!(*container, expected);
    for host in ["volumes", "hostNetwork", "hostPID", "hostIPC"] {
        assert!(spec.get(host).is_none(), "{spec:#}");
    }
    let namespace = scene
        .api
        .get(&format!("/api/v1/namespaces/{HOME}"))
        .unwrap();
    let enforced = &at(&namespace, "/metadata/labels")["pod-security.kubernetes.io/enforce"];
    assert_eq!(*enforced, json!("restricted"));
}
