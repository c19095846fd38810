//! The first sentence of a message: the container, the process and the limit. With ordinary names it has
//! at most 120 characters, so that it fits a terminal. Pure.

use memcg::{Owners, cgroup as path};
use service::escape;

use super::{
    KillText, capitalize, cgroup, cgroup_name, comm_or_default, container_name, escape_and_cut,
    pod_name, with_size,
};
use crate::incident::{LimitKind, Scope, Victim};
use crate::k8s::draft::Regarding;
use crate::size::size;

pub(super) fn headline(kill: &KillText<'_>) -> String {
    let Some(victim) = kill.first_victim() else {
        return "The OOM killer struck, and nothing is known of its victim.".to_owned();
    };
    let who = format!("{} (pid {})", comm_or_default(victim), victim.pid);
    let place = place(kill, victim);
    let limit = kill.incident.limit_bytes;
    if matches!(kill.scope, Scope::Container | Scope::Nested) {
        let place = place.unwrap_or_else(|| "the container".to_owned());
        let hit = if kill.scope == Scope::Container {
            limit_hit(kill, &place, kill.incident.setting_bytes())
        } else {
            limit_hit(kill, &format!("a cgroup within {place}"), limit)
        };
        return format!("{hit}: {who} was OOM-killed.");
    }
    let place = place.map_or_else(String::new, |place| format!(" in {place}"));
    let killed = format!("{who}{place} was OOM-killed");
    let why = match kill.scope {
        Scope::Pod => limit_hit(kill, "the pod", limit),
        Scope::Ancestor => limit_hit(kill, &ancestor(kill), limit),
        Scope::Node => format!("The node ran out of memory{}", in_parentheses(limit)),
        Scope::Confined => format!(
            "The memory nodes that {} allows were full{}",
            confined_by(kill),
            in_parentheses(limit)
        ),
        Scope::Sysrq => "SysRq f asked for a kill".to_owned(),
        Scope::Unknown | Scope::Container | Scope::Nested => {
            return format!("{killed}; whose limit was reached is not known.");
        }
    };
    format!("{why}: {killed}.")
}

/// Which limit was hit, and how.
fn limit_hit(kill: &KillText<'_>, whose: &str, limit: Option<u64>) -> String {
    if kill.incident.limit_lowered {
        let to = with_size(" to ", limit);
        return format!("The memory limit of {whose} was lowered{to}, below its use");
    }
    let memory = match kill.incident.limit_kind {
        Some(LimitKind::MemoryAndSwap) => "memory+swap",
        _ => "memory",
    };
    let of = with_size(" of ", limit);
    format!("{} hit its {memory} limit{of}", capitalize(whose))
}

fn in_parentheses(bytes: Option<u64>) -> String {
    bytes.map_or_else(String::new, |bytes| format!(" ({})", size(bytes)))
}

pub(super) fn confined_by(kill: &KillText<'_>) -> &'static str {
    let oom = kill.incident.oom.as_ref();
    match oom.map(|oom| oom.constraint.as_str()) {
        Some("memory-policy") => "its memory policy",
        _ => "its cpuset",
    }
}

/// A cgroup above the pods, without its path where a plain name is known.
fn ancestor(kill: &KillText<'_>) -> String {
    let limit = kill.incident.limit_cgroup.as_deref();
    match Above::from_path(limit.unwrap_or_default()) {
        Above::Kubelet => "the cgroup of the node's pods".to_owned(),
        Above::Container(id) => format!("the node's own container {id}"),
        Above::Other => format!("cgroup {}", cgroup_name(limit.unwrap_or("unknown"))),
    }
}

/// A cgroup above a pod, or outside of all pods.
pub(super) enum Above {
    /// The kubelet's: of all pods or of one quality-of-service class.
    Kubelet,
    /// The container that a node runs in: kind, minikube, k3d. The start of its id, escaped.
    Container(String),
    Other,
}

// === impl Above ===

impl Above {
    pub(super) fn from_path(limit: &str) -> Self {
        let mut segments = limit.rsplit('/');
        let (last, above) = (segments.next().unwrap_or(""), segments.next().unwrap_or(""));
        let is_kubelets = |name: &str| name.starts_with("kubepods") || name.contains("-kubepods");
        if is_kubelets(last) || (is_kubelets(above) && matches!(last, "burstable" | "besteffort")) {
            return Self::Kubelet;
        }
        let identity = path::parse_path(limit);
        let is_container =
            !identity.is_machine() && Owners::from_path(limit).container == Some(limit);
        match identity.container_id.filter(|_| is_container) {
            Some(id) => Self::Container(escape_and_cut(escape::truncate(&id, 12), 12)),
            None => Self::Other,
        }
    }
}

/// Where the victim was, unless the limit's cgroup names it already.
fn place(kill: &KillText<'_>, victim: &Victim) -> Option<String> {
    let named = |container| format!("container {}", container_name(container));
    let (pod, container) = match (&kill.draft.regarding, kill.draft.subject()) {
        (Regarding::Pod(subject), _) => {
            let container = subject.container.as_ref().map(named);
            return Some(container.unwrap_or_else(|| "a cgroup of the pod's own".to_owned()));
        }
        (Regarding::Node(_), Some(subject)) => (Some(&subject.pod), subject.container.as_ref()),
        (Regarding::Node(_), None) => (victim.pod.as_ref(), victim.container.as_ref()),
    };
    match (pod.map(pod_name), container.map(named)) {
        (Some(pod), Some(container)) => Some(format!("{container} of {pod}")),
        (Some(pod), None) => Some(pod),
        (None, Some(container)) => Some(format!("{container} of no pod")),
        (None, None) => {
            let own = victim.cgroup.as_deref();
            let other = own.filter(|_| own != kill.incident.limit_cgroup.as_deref());
            other.map(|path| format!("cgroup {}", cgroup(path)))
        }
    }
}
