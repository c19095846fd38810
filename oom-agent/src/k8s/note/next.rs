//! What to do next, by whose setting it is and what holds the memory. Pure.

use super::cause::{hog, shared_bytes, unexplained};
use super::headline::{Above, confined_by};
use super::{
    CGROUP_LEN, KillText, OBJECT_LEN, comm_or_default, cut_comm, escape_and_cut, holder_name,
    with_size,
};
use crate::incident::{Holder, LimitKind, Scope, Victim};
use crate::k8s::draft::Regarding;
use crate::size::size;
use oom_capture::Rss;

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
    let name = kill.subject_name();
    let name = name.unwrap_or_else(|| "the container".to_owned());
    let above = with_size(" above ", kill.incident.setting_bytes());
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
    let comm = kill.first_victim().and_then(|it| it.comm.as_deref());
    let leak = comm.map_or_else(String::new, |comm| format!(" in {}", cut_comm(comm)));
    format!("Next: {raise}; if its memory only ever grows, look for the leak{leak}.")
}

/// Files there count until they are deleted, also after a restart of the container.
const FIND_SHARED: &str = "find what fills it, and give the volume a sizeLimit";

fn pod(kill: &KillText<'_>) -> String {
    let bytes = kill.incident.limit_bytes;
    let raise = if kill.has_pod_limit == Some(false) {
        let limit = bytes.map_or_else(|| "limit".to_owned(), size);
        format!(
            "raise its containers' resources.limits.memory: the pod's {limit} is made up of these"
        )
    } else {
        let above = with_size(" above ", bytes);
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
    let name = kill.subject_name();
    let name = name.unwrap_or_else(|| "the container".to_owned());
    format!(
        "Next: {name}'s own limit was not reached: raise the limit of the cgroup {cgroup}, which was set within it (docker run --memory, MemoryMax=, memory.max)."
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
            let is_unit = [".slice", ".service", ".scope"].map(|kind| path.ends_with(kind));
            if !is_unit.contains(&true) {
                return format!(
                    "Next: see what runs below {} on node {node}, and who set its limit (memory.max, memory.limit_in_bytes): raise it or move a part of it elsewhere.",
                    super::cgroup(path)
                );
            }
            let unit = path.rsplit('/').next().unwrap_or(path);
            let unit = escape_and_cut(unit, CGROUP_LEN);
            format!(
                "Next: see what runs in it (systemd-cgls on node {node}) and raise MemoryMax= of {unit}, or move a part of it elsewhere."
            )
        }
    }
}

fn node_advice(kill: &KillText<'_>, node: &str) -> String {
    let victim = kill.first_victim();
    let held = victim.and_then(|victim| Some(victim.rss_bytes?.total()));
    let whole = kill.incident.limit_bytes;
    let is_large = whole
        .zip(held)
        .is_some_and(|(whole, held)| held >= whole / LARGE);
    if let Some((hog, _)) = hog(kill).filter(|_| !is_large) {
        let name = holder_name(hog);
        let see = if hog.pod.is_some() {
            format!("Next: limit {name}")
        } else {
            format!("Next: see why {name} holds that much, and limit it")
        };
        let Some(victim) = victim.filter(|victim| is_spared(victim, hog)) else {
            return format!("{see}.");
        };
        let adj = victim.oom_score_adj;
        let adj = adj.map_or_else(String::new, |adj| format!(" ({adj})"));
        let whose = match kill.subject_name() {
            Some(name) => format!("give {name} a memory request: its oom_score_adj"),
            None => format!("the oom_score_adj of {}", comm_or_default(victim)),
        };
        return format!("{see}; {whose}{adj} had it chosen, not its size.");
    }
    let is_pods = is_large && matches!(kill.draft.regarding, Regarding::Pod(_));
    match kill.subject_name().filter(|_| is_pods) {
        Some(name) => format!(
            "Next: set {name}'s memory request to what it uses, so that it runs where there is room, and give it a limit; see what else fills node {node} (kubectl top pods -A)."
        ),
        None => format!(
            "Next: see what fills node {node} (kubectl top pods -A, and its own services); let the kubelet evict before the kernel kills (evictionHard memory.available)."
        ),
    }
}

/// Whether the holder's largest process is larger than the victim, and its `oom_score_adj` protected it.
fn is_spared(victim: &Victim, hog: &Holder) -> bool {
    let Some(process) = &hog.process else {
        return false;
    };
    let adjs = process.oom_score_adj.zip(victim.oom_score_adj);
    let rss = victim.rss_bytes.map(Rss::total);
    rss.is_some_and(|rss| rss < process.rss_bytes) && adjs.is_some_and(|(its, own)| its < own)
}
