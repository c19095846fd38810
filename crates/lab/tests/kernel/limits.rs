//! Whose limit it was, and so whose setting, where the cgroups of pods are nested as kubelets, kind and
//! minikube nest them.

use std::fs;
use std::path::PathBuf;

use lab::Cgroup;
use serde_json::{Value, json};

use super::support::{MIB, SOON, at};
use super::{Running, agent, tail};

const UID: &str = "cdca04fa-af25-4b34-81e7-7625111db389";
const SANDBOX: &str = "ee9c0dcb382591003d18a85104bb6ead368c36fe5a6ecbfc63347ad0fe87d52e";
const MAIN: &str = "7be92808767a667f35c8505cbf40d14e931ef6db5b0210329cf193b15ba9d605";
const INIT: &str = "17db96a24ae1e9dd57143e62b1cb0d2d35e693c65c774c7470e87b0572e07c1a";

fn limit(cgroup: &Cgroup, bytes: u64) {
    let files = ["memory.max", "memory.limit_in_bytes"];
    let file = files.map(|name| cgroup.dir().join(name));
    let file = file.iter().find(|file| file.exists()).unwrap();
    fs::write(file, bytes.to_string()).unwrap();
}

/// A file of tmpfs that does not outlive its test.
struct Volume(PathBuf);

impl Drop for Volume {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.0);
    }
}

fn holders(incident: &Value) -> Vec<&str> {
    let holders = at(incident, "/holders").as_array().unwrap().iter();
    holders
        .map(|holder| at(holder, "/cgroup").as_str().unwrap())
        .collect()
}

/// By its path the container that is a node looks as the victim's own would.
#[test]
fn the_limit_of_a_node_in_a_container_is_an_ancestors() {
    for of_node in [true, false] {
        let mut agent = agent();
        let (node, id) = Cgroup::of_container(if of_node { 48 } else { 512 } * MIB).unwrap();
        let kubepods = node.below("kubepods").unwrap();
        let burstable = kubepods.below("burstable").unwrap();
        let pod = burstable.below(&format!("pod{UID}")).unwrap();
        let container = pod.below(MAIN).unwrap();
        let limited = if of_node {
            &node
        } else {
            limit(&kubepods, 48 * MIB);
            &kubepods
        };
        let victim = tail(&container);
        let incident = agent.incident_of(victim.pid(), SOON).unwrap();
        assert_eq!(*at(&incident, "/scope"), "ancestor", "{incident:#}");
        assert_eq!(*at(&incident, "/limit_cgroup"), json!(limited.path()));
        assert_eq!(*at(&incident, "/limit_bytes"), json!(48 * MIB));
        assert_eq!(*at(&incident, "/limit_kind"), json!("memory"));
        assert_eq!(*at(&incident, "/setting"), json!(null));
        assert_eq!(*at(&incident, "/victims/0/container/id"), json!(MAIN));
        assert_eq!(*at(&incident, "/victims/0/pod/uid"), json!(UID));
        assert_eq!(holders(&incident), [pod.path()], "{incident:#}");
        assert_eq!(*at(&incident, "/holders/0/container/id"), json!(MAIN));
        assert_ne!(id, MAIN);
    }
}

/// Pod and container have one limit, and the sandbox holds some pages.
#[test]
fn a_pod_with_its_containers_limit_has_none_of_its_own() {
    let mut agent = agent();
    let top = Cgroup::new(512 * MIB).unwrap();
    let pod = top.below(&format!("pod{UID}")).unwrap();
    limit(&pod, 48 * MIB);
    let sandbox = pod.below(SANDBOX).unwrap();
    let main = pod.below(MAIN).unwrap();
    limit(&main, 48 * MIB);
    let _pause = Running::spawn(sandbox.command("sleep").arg("1000"));
    let victim = tail(&main);
    let incident = agent.incident_of(victim.pid(), SOON).unwrap();
    assert_eq!(*at(&incident, "/scope"), "container", "{incident:#}");
    // Where the kernel shows nothing, the nearest that is full is taken for it.
    let setting = json!({"cgroup": main.path(), "limit_bytes": 48 * MIB});
    let limit = (at(&incident, "/limit_cgroup"), at(&incident, "/setting"));
    let counted = limit == (&json!(pod.path()), &setting);
    assert!(
        counted || limit == (&json!(main.path()), &Value::Null),
        "{incident:#}"
    );
    assert_eq!(*at(&incident, "/limit_bytes"), json!(48 * MIB));
}

/// An init container has filled a volume and has gone: the files count on the pod, whose limit is that
/// of its container nevertheless.
#[test]
fn files_of_a_container_that_has_gone_fill_the_pod() {
    let mut agent = agent();
    let top = Cgroup::new(512 * MIB).unwrap();
    let pod = top.below(&format!("pod{UID}")).unwrap();
    limit(&pod, 96 * MIB);
    let volume = Volume(format!("/dev/shm/oom-bonker-{}", std::process::id()).into());
    let init = pod.below(INIT).unwrap();
    let mut dd = init.command("dd");
    let to = format!("of={}", volume.0.display());
    let mut dd = Running::spawn(dd.args(["if=/dev/zero", &to, "bs=1M", "count=40"]));
    assert!(dd.0.wait().unwrap().success());
    drop(init);
    let main = pod.below(MAIN).unwrap();
    limit(&main, 96 * MIB);
    let victim = tail(&main);
    let incident = agent.incident_of(victim.pid(), SOON).unwrap();
    assert_eq!(*at(&incident, "/scope"), "container", "{incident:#}");
    assert_eq!(*at(&incident, "/limit_cgroup"), json!(pod.path()));
    let setting = json!({"cgroup": main.path(), "limit_bytes": 96 * MIB});
    assert_eq!(*at(&incident, "/setting"), setting);
    assert_eq!(holders(&incident), [main.path()]);
    assert_eq!(*at(&incident, "/memory/0/cgroup"), json!(pod.path()));
    let shmem = at(&incident, "/memory/0/stat/shmem").as_u64().unwrap();
    assert!(shmem >= 40 * MIB, "{incident:#}");
}
