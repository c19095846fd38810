//! What to do next, by whose setting it is and what holds the memory. Pure.

use super::cause::{hog, shared_bytes, unexplained};
use super::headline::{Above, confined_by};
use super::{
    CGROUP_LEN, COMM_LEN, KillText, OBJECT_LEN, comm_or_default, container_name, escape_and_cut,
    holder_name,
};
use crate::incident::{Holder, LimitKind, Scope};
use crate::k8s::draft::Regarding;
use crate::size::size;

/// A victim that held less than one part in this many of the node's memory did not fill it.
const LARGE: u64 = 16;

/// One or two sentences that begin with "Next:".
pub(super) fn next_step(kill: &KillText<'_>) -> String {
    let node = escape_and_cut(&kill.incident.node, OBJECT_LEN);
    match kill.scope {
        Scope::Container => container(kill),
        Scope::Pod => pod(kill),
        Scope::Nested => nested(kill),
        Scope::Ancestor => ancestor(kill, &node),
        Scope::Node => node_advice(kill, &node),
        Scope::Confined => format!(
            "Next: see what else fills the memory nodes (NUMA) of {} on node {node} (numastat -m), or allow it more of them (cpuset.mems, the kubelet's memoryManagerPolicy).",
            confined_by(kill)
        ),
        Scope::Sysrq => format!(
            "Next: ask who works on node {node}: a person or a tool wrote f to /proc/sysrq-trigger or pressed the keys."
        ),
        Scope::Unknown => format!(
            "Next: read the kernel's report on node {node} (journalctl -k): its constraint= and oom_memcg= name the limit."
        ),
    }
}

fn container(kill: &KillText<'_>) -> String {
    let name = subject_name(kill).unwrap_or_else(|| "the container".to_owned());
    let bytes = kill.incident.setting_bytes();
    let above = bytes.map_or_else(String::new, |bytes| format!(" above {}", size(bytes)));
    // Outside of Kubernetes there is no manifest.
    let setting = match (kill.draft.subject(), kill.incident.limit_kind) {
        (Some(_), _) => "resources.limits.memory",
        (None, Some(LimitKind::MemoryAndSwap)) => "limit of memory and swap together",
        (None, _) => "memory limit",
    };
    let raise = format!("raise {name}'s {setting}{above}");
    if kill.incident.limit_lowered {
        return format!("Next: {raise}, or have it use less before its limit is lowered.");
    }
    if shared_bytes(kill).is_some() {
        return format!("Next: {FIND_SHARED}; if it is needed, {raise}.");
    }
    if unexplained(kill).is_some() {
        return format!("Next: see what else holds memory in it; if that is needed, {raise}.");
    }
    let comm = kill.victim.and_then(|victim| victim.comm.as_deref());
    let leak = comm.map_or_else(String::new, |comm| {
        format!(" in {}", escape_and_cut(comm, COMM_LEN))
    });
    format!("Next: {raise}; if its memory only ever grows, look for the leak{leak}.")
}

/// Files there count until they are deleted, also after a restart of the container.
const FIND_SHARED: &str = "find what fills it, and give the volume a sizeLimit";

fn pod(kill: &KillText<'_>) -> String {
    let bytes = kill.incident.limit_bytes;
    let above = bytes.map_or_else(String::new, |bytes| format!(" above {}", size(bytes)));
    let raise = if kill.has_pod_limit == Some(false) {
        let limit = bytes.map_or_else(|| "limit".to_owned(), size);
        format!(
            "raise its containers' resources.limits.memory: the pod's {limit} is made up of these"
        )
    } else {
        format!("raise the pod's resources.limits.memory{above}")
    };
    if shared_bytes(kill).is_some() {
        return format!("Next: {FIND_SHARED}; if it is needed, {raise}.");
    }
    format!("Next: find which container grows, or {raise}.")
}

fn nested(kill: &KillText<'_>) -> String {
    let cgroup = kill.incident.limit_cgroup.as_deref().unwrap_or("unknown");
    let cgroup = cgroup.rsplit('/').next().unwrap_or(cgroup);
    let cgroup = escape_and_cut(cgroup, CGROUP_LEN);
    let whose = subject_name(kill).map_or_else(
        || "the container's own limit".to_owned(),
        |name| format!("{name}'s own limit"),
    );
    format!(
        "Next: {whose} was not reached: raise the limit of the cgroup {cgroup}, which was set within it (docker run --memory, MemoryMax=, memory.max)."
    )
}

fn ancestor(kill: &KillText<'_>, node: &str) -> String {
    let path = kill.incident.limit_cgroup.as_deref().unwrap_or("unknown");
    match Above::from_path(path) {
        Above::Kubelet => {
            // Without a larger holder it is the victim's own pod.
            let hog = hog(kill).map(|(hog, _)| hog);
            let hog = hog.or(kill.incident.holders.first());
            let hog = hog.filter(|hog| hog.pod.is_some() && hog.limit_bytes.is_none());
            let limit = hog.map_or_else(String::new, |hog| {
                format!("give {} a memory limit; ", holder_name(hog))
            });
            format!(
                "Next: {limit}set the pods' requests to what they use, so that node {node} is not overfilled."
            )
        }
        Above::Container(_) => format!(
            "Next: node {node} runs in a container (kind, minikube, k3d): give that more memory (docker update --memory --memory-swap), or run less on it."
        ),
        Above::Other => {
            let kinds = [".slice", ".service", ".scope"];
            let unit = path.rsplit('/').next();
            let unit = unit.filter(|unit| kinds.iter().any(|kind| unit.ends_with(kind)));
            match unit {
                Some(unit) => format!(
                    "Next: see what runs in it (systemd-cgls on node {node}) and raise MemoryMax= of {}, or move a part of it elsewhere.",
                    escape_and_cut(unit, CGROUP_LEN)
                ),
                None => format!(
                    "Next: see what runs below {} on node {node}, and who set its limit (memory.max, memory.limit_in_bytes): raise it or move a part of it elsewhere.",
                    super::cgroup(path)
                ),
            }
        }
    }
}

fn node_advice(kill: &KillText<'_>, node: &str) -> String {
    let held = kill
        .victim
        .and_then(|victim| Some(victim.rss_bytes?.total()));
    let whole = kill.incident.limit_bytes;
    let is_large = whole
        .zip(held)
        .is_some_and(|(whole, held)| held >= whole / LARGE);
    if let Some((hog, _)) = hog(kill).filter(|_| !is_large) {
        let hog_name = holder_name(hog);
        let see = if hog.pod.is_some() {
            format!("Next: limit {hog_name}")
        } else {
            format!("Next: see why {hog_name} holds that much, and limit it")
        };
        if !is_spared(kill, hog) {
            return format!("{see}.");
        }
        let adj = kill.victim.and_then(|victim| victim.oom_score_adj);
        let adj = adj.map_or_else(String::new, |adj| format!(" ({adj})"));
        let whose = subject_name(kill).map_or_else(
            || {
                format!(
                    "the oom_score_adj of {}",
                    kill.victim.map(comm_or_default).unwrap_or_default()
                )
            },
            |name| format!("give {name} a memory request: its oom_score_adj"),
        );
        return format!("{see}; {whose}{adj} had it chosen, not its size.");
    }
    match subject_name(kill)
        .filter(|_| is_large && matches!(kill.draft.regarding, Regarding::Pod(_)))
    {
        Some(name) => format!(
            "Next: set {name}'s memory request to what it uses, so that it runs where there is room, and give it a limit; see what else fills node {node} (kubectl top pods -A)."
        ),
        None => format!(
            "Next: see what fills node {node} (kubectl top pods -A, and its own services); let the kubelet evict before the kernel kills (evictionHard memory.available)."
        ),
    }
}

/// Whether the holder's largest process is larger than the victim, and its `oom_score_adj` protected it.
fn is_spared(kill: &KillText<'_>, hog: &Holder) -> bool {
    let (Some(process), Some(victim)) = (&hog.process, kill.victim) else {
        return false;
    };
    let adjs = process.oom_score_adj.zip(victim.oom_score_adj);
    let is_smaller = victim
        .rss_bytes
        .is_some_and(|rss| rss.total() < process.rss_bytes);
    is_smaller && adjs.is_some_and(|(its, own)| its < own)
}

fn subject_name(kill: &KillText<'_>) -> Option<String> {
    let container = kill.draft.subject()?.container.as_ref()?;
    container.name.as_ref()?;
    Some(container_name(container))
}
