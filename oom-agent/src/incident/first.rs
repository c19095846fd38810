//! Whether a victim was its container's first process, with which the container ends. Pure.
//!
//! The runtime starts the first process from outside. PID 1 of a namespace within the container
//! (`unshare --pid`, Docker in a pod) has a parent in the container.

use oom_agent_ebpf::LEVELS;

use memcg::cgroup;
use oom_capture::Victim;

const UNKNOWN: &str = "it is unknown where its parent and its PID namespace's first process are";
const SHARED: &str = "the container shares its PID namespace: its first process cannot be distinguished from one that was executed in it, or whose parent has ended";

/// For a victim in a container. `Err`: why it is unknown.
pub(crate) fn is_first_process(killed: &Victim) -> Result<bool, &'static str> {
    let path = killed.process.cgroup.as_deref().ok_or(UNKNOWN)?;
    let container = container_level(path);
    let within = |above: Option<u32>| above.map(|above| above as usize <= container);
    match (
        killed.is_reaper(),
        within(killed.parent_above),
        within(killed.reaper_above),
    ) {
        (true, Some(false), _) => Ok(true),
        // Its namespace is the container's own, or one within, and has another first process.
        (_, Some(true), _) | (false, _, Some(true)) => Ok(false),
        (false, Some(false), Some(false)) => Err(SHARED),
        _ => Err(UNKNOWN),
    }
}

/// How many levels the container's cgroup is above `path`.
fn container_level(path: &str) -> usize {
    let identity = cgroup::parse_path(path);
    let id = identity.container_id.as_deref();
    // systemd-nspawn is itself in a cgroup beside that of its machine's processes.
    let is_payload = |above: &usize| {
        let ancestor = memcg::ancestor(path, *above);
        ancestor.is_some_and(|ancestor| ancestor.ends_with("/payload"))
    };
    if let Some(payload) = (0..=LEVELS).find(|above| identity.is_machine() && is_payload(above)) {
        return payload;
    }
    let is_within = |above: &usize| {
        let ancestor = memcg::ancestor(path, *above);
        ancestor.is_some_and(|ancestor| cgroup::parse_path(ancestor).container_id.as_deref() == id)
    };
    (1..=LEVELS).take_while(is_within).last().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oom_capture::Process;

    const CONTAINER: &str = "/kubepods/burstable/pod6a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e/17db96a24ae1e9dd57143e62b1cb0d2d35e693c65c774c7470e87b0572e07c1a";

    fn check(path: &str, pid: (u32, u32), above: (u32, u32), expected: Option<bool>) {
        let killed = Victim {
            process: Process {
                cgroup: Some(path.to_owned()),
                namespace_level: Some(pid.0),
                namespace_pid: Some(pid.1),
                ..Process::default()
            },
            parent_above: Some(above.0),
            reaper_above: Some(above.1),
            ..Victim::default()
        };
        assert_eq!(
            is_first_process(&killed).ok(),
            expected,
            "{path} {pid:?} {above:?}"
        );
    }

    #[test]
    fn the_first_process_is_the_one_whose_parent_is_outside() {
        // The runtime's shim is in another slice.
        check(CONTAINER, (1, 1), (4, 0), Some(true));
        // Kubernetes in a container: the shim is in the node's cgroup, two levels deep.
        let node = "/docker/ba7b10d15d16e10e3de7a2dcd408a3d971169ae303f46cfad4c5453c6326fee2";
        let kind = format!("{node}/kubelet{CONTAINER}");
        check(&kind, (2, 1), (5, 0), Some(true));
        // CRI-O's monitor is in the pod's cgroup.
        let crio = CONTAINER.replace("17db", "crio-17db");
        check(&format!("{crio}/container"), (1, 1), (2, 0), Some(true));
    }

    #[test]
    fn a_machines_first_process_is_started_by_its_supervisor() {
        let machine = "/machine.slice/systemd-nspawn@x.service/payload/init.scope";
        check(machine, (1, 1), (2, 0), Some(true));
        check(machine, (1, 7), (0, 0), Some(false));
    }

    #[test]
    fn the_first_process_of_a_nested_namespace_is_a_child() {
        check(CONTAINER, (2, 1), (0, 0), Some(false));
        // Its parent is in another cgroup of the container, or it in one of its own.
        let nested = format!("{CONTAINER}/jobs/7");
        check(&nested, (2, 1), (1, 0), Some(false));
        check(&nested, (2, 1), (2, 0), Some(false));
        check(&nested, (1, 1), (3, 0), Some(true));
        // A node's container with another container in it, whose pods are not this runtime's.
        let inner = format!(
            "{CONTAINER}/docker/ba7b10d15d16e10e3de7a2dcd408a3d971169ae303f46cfad4c5453c6326fee2"
        );
        check(&inner, (2, 1), (1, 0), Some(false));
    }

    #[test]
    fn a_process_executed_in_the_containers_namespace_is_a_child() {
        check(CONTAINER, (1, 7), (0, 0), Some(false));
        check(CONTAINER, (1, 7), (4, 0), Some(false));
    }

    #[test]
    fn in_a_shared_namespace_only_a_child_of_the_container_is_classified() {
        // shareProcessNamespace: the first process of all is the sandbox's.
        check(CONTAINER, (1, 7), (0, 1), Some(false));
        check(CONTAINER, (1, 7), (4, 1), None);
        // hostPID.
        check(CONTAINER, (0, 4242), (0, 4), Some(false));
        check(CONTAINER, (0, 4242), (4, 4), None);
        // A namespace of its own within such a container.
        check(CONTAINER, (1, 1), (0, 0), Some(false));
    }

    #[test]
    fn a_victim_that_could_not_be_read_is_not_classified() {
        let killed = Victim {
            process: Process {
                cgroup: Some(CONTAINER.to_owned()),
                namespace_level: Some(1),
                namespace_pid: Some(1),
                ..Process::default()
            },
            ..Victim::default()
        };
        assert_eq!(is_first_process(&killed), Err(UNKNOWN));
    }
}
