//! What the agent may do, against its manifest.

use std::collections::HashSet;
use std::fs;

use lab::Cluster;
use serde_json::{Value, json};
use xtask::terminal;

use crate::ACCOUNT;
use crate::agent::agent_pid;
use crate::case::CASES;
use crate::support::{at, text};

/// The container's process has what the manifest grants, as the kernel shows it.
pub(crate) fn are_those_of_the_manifest(cluster: &Cluster, agent: &Value) {
    let pid = agent_pid(cluster, agent);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name));
        value
            .unwrap_or_else(|| panic!("no {name} in {status}"))
            .trim()
    };
    let context = at(agent, "/spec/containers/0/securityContext");
    assert_eq!(*at(context, "/capabilities/drop"), json!(["ALL"]));
    let listed = at(context, "/capabilities/add").as_array().unwrap();
    let mask = listed.iter().fold(0, |mask, name| mask | bit(name));
    for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
        let set_of = u64::from_str_radix(field(set), 16).unwrap();
        assert_eq!(set_of, mask, "{set} {set_of:#x} is not {listed:?}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2", "a filter");
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    for point in ["/", "/run", "/host/proc", "/host/sys/fs/cgroup"] {
        let options = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(4);
            (fields.next()? == point).then(|| fields.next())?
        });
        let options = options.unwrap_or_else(|| panic!("no mount {point} in\n{mounts}"));
        assert_eq!(options.split(',').next(), Some("ro"), "{point} {options}");
    }
    let type_of = |point: &str| {
        let of = |line: &&str| line.split(' ').nth(4) == Some(point);
        let line = mounts.lines().find(of)?;
        line.split_once(" - ")?.1.split(' ').next()
    };
    assert_eq!(type_of("/sys/fs/bpf"), Some("bpf"));
    for namespace in ["pid", "net", "ipc", "uts", "mnt"] {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
        assert_ne!(of(&pid.to_string()), of("self"), "{namespace}");
    }
}

/// The API server's audit log has nothing of the agent's account that the
/// manifest does not grant, and no refusals.
pub(crate) fn requests_are_those_of_the_manifest(cluster: &Cluster) {
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/oom-agent";
    let role = cluster.api.get(path).unwrap();
    let strings = |rule: &Value, field: &str| -> Vec<String> {
        let values = rule[field].as_array().unwrap().iter();
        values
            .map(|value| value.as_str().unwrap().to_owned())
            .collect()
    };
    let mut granted = HashSet::new();
    for rule in at(&role, "/rules").as_array().unwrap() {
        for group in strings(rule, "apiGroups") {
            for resource in strings(rule, "resources") {
                for verb in strings(rule, "verbs") {
                    granted.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    let mut requests = 0;
    for request in cluster.api.audit().unwrap() {
        if *at(&request, "/user/username") != json!(ACCOUNT) {
            continue;
        }
        requests += 1;
        let reference = |field: &str| {
            let value = request.pointer(&format!("/objectRef/{field}"));
            value.and_then(Value::as_str).unwrap_or("").to_owned()
        };
        let needed = (
            reference("apiGroup"),
            reference("resource"),
            text(&request, "/verb").to_owned(),
        );
        assert!(granted.contains(&needed), "{needed:?} of {granted:?}");
        let code = at(&request, "/responseStatus/code").as_u64().unwrap();
        assert!((200..300).contains(&code), "{request:#}");
    }
    terminal::line(format_args!(
        "{requests} requests of the agent's account, all of {granted:?}"
    ));
    assert!(requests >= CASES.len());
}

/// The bit of a capability, by the kernel's `include/uapi/linux/capability.h`.
fn bit(name: &Value) -> u64 {
    match name.as_str().unwrap() {
        "PERFMON" => 1 << 38,
        "BPF" => 1 << 39,
        other => panic!("the manifest lists {other}: why, and which bit is it?"),
    }
}
