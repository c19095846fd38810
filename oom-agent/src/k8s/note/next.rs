//! What to do next: it depends on whose limit it was. Pure.

use super::{CGROUP_LEN, COMM_LEN, CONTAINER_LEN, OBJECT_LEN, shown};
use crate::incident::{Incident, Scope};
use crate::k8s::draft::{Draft, On};
use crate::size::size;

/// One or two sentences that begin with "Next:".
pub(super) fn step(draft: &Draft, incident: &Incident) -> String {
    let node = shown(&incident.node, OBJECT_LEN);
    let on_pod = matches!(draft.on, On::Pod(_));
    match incident.scope {
        Scope::Container => {
            let above = incident
                .limit_bytes
                .map(|bytes| format!(" above {}", size(bytes)))
                .unwrap_or_default();
            // Outside of Kubernetes there is no manifest.
            let limit = if draft.subject().is_some() {
                "resources.limits.memory"
            } else {
                "memory limit"
            };
            format!(
                "Next: if {} needs that much, raise its {limit}{above}; if its memory only ever grows, look for the leak{}.",
                name(draft).unwrap_or_else(|| "the container".to_owned()),
                comm(draft).map(|comm| format!(" in {comm}")).unwrap_or_default()
            )
        }
        Scope::Pod => "Next: see which container grows and what lies in the pod's emptyDir volumes of medium Memory and in /dev/shm (files there count until they are deleted, over restarts of a container too); then raise the limit, or give those volumes a sizeLimit.".to_owned(),
        Scope::Ancestor => ancestor(incident.limit_cgroup.as_deref(), &node),
        Scope::Node => {
            let who = name(draft).filter(|_| on_pod);
            let requests = match who {
                Some(name) => format!(
                    "set the memory request of {name} to what it uses, so that it runs where there is room and is chosen later"
                ),
                None => "set memory requests to what the pods use".to_owned(),
            };
            format!(
                "Next: see what fills node {node} (kubectl top pods, and its own services); {requests}; let the kubelet evict before the kernel kills (evictionHard memory.available)."
            )
        }
        Scope::Sysrq => format!(
            "Next: ask who works on node {node}: a person or a tool wrote f to /proc/sysrq-trigger or pressed the keys. Nothing has to be resized."
        ),
        Scope::Unknown => format!(
            "Next: compare the sizes with the limits of container and pod; the kernel's own report is in the log of node {node} (journalctl -k --grep oom)."
        ),
    }
}

fn ancestor(path: Option<&str>, node: &str) -> String {
    let path = path.unwrap_or("unknown");
    // The kubelet's own cgroups, under either driver.
    let kubelets = [
        "/kubepods",
        "/kubelet/kubepods",
        "/kubelet.slice/kubelet-kubepods",
    ];
    if kubelets.iter().any(|start| path.starts_with(start)) {
        return format!(
            "Next: this is what the kubelet leaves to all pods of node {node} together, and no pod's own limit: set memory requests to what the pods use, so that fewer run here, or lower the kubelet's systemReserved and kubeReserved."
        );
    }
    let unit = path.rsplit('/').find(|segment| {
        [".slice", ".service", ".scope"]
            .iter()
            .any(|kind| segment.ends_with(kind))
    });
    match unit {
        Some(unit) => format!(
            "Next: see what runs in it (systemd-cgls on node {node}) and raise MemoryMax= of {}, or move a part of it elsewhere.",
            shown(unit, CGROUP_LEN)
        ),
        None => format!(
            "Next: see what runs below it on node {node}, and who set its limit (memory.max, memory.limit_in_bytes): raise it or move a part of it elsewhere."
        ),
    }
}

fn name(draft: &Draft) -> Option<String> {
    let container = draft.subject()?.container.as_ref()?;
    Some(shown(container.name.as_deref()?, CONTAINER_LEN))
}

fn comm(draft: &Draft) -> Option<String> {
    let comm = draft.victims().first()?.comm.clone()?;
    Some(shown(&comm, COMM_LEN))
}
