//! The words of an Event, for somebody who is woken by it. Pure.
//!
//! First the container, the process and the limit, in one sentence; then what became of the container
//! and how it came to that; at the end, and never cut off, what to do next.

mod cause;
mod headline;
mod next;
mod other;

#[cfg(test)]
mod tests;

use service::escape;

use super::draft::{Draft, On};
use super::facts::Facts;
use crate::incident::{Container, Holder, Incident, Outcome, Pod, Scope, Victim};
use crate::report::Report;
use crate::status_check::MismatchKind;
use pressure::Level;

/// What the API server takes at most, in bytes.
pub(super) const NOTE_LEN: usize = 1024;

/// Characters of the last minute's picture, of three bytes each.
const CELLS: usize = 20;

/// The longest names shown, in bytes: more than honest ones have, where Kubernetes or the kernel bounds them.
const COMM_LEN: usize = 48;
const CONTAINER_LEN: usize = 63;
const OBJECT_LEN: usize = 80;
const CGROUP_LEN: usize = 100;

/// As much of a cgroup's own name as the first sentence has room for.
const CGROUP_NAME_LEN: usize = 28;

/// What an Event tells of a kill.
struct Kill<'a> {
    draft: &'a Draft,
    incident: &'a Incident,
    /// The first that the Event is about.
    victim: Option<&'a Victim>,
    /// Whose limit it was, by the pod's spec too.
    scope: Scope,
    /// Whether the pod's spec has a memory limit of its own; `None` where the spec is not known.
    has_pod_limit: Option<bool>,
}

/// The Event's `type`: nothing is wrong with a container that is wrongly called killed.
pub(super) fn kind(draft: &Draft) -> &'static str {
    match &draft.report {
        Report::Mismatch(mismatch) if mismatch.verdict == MismatchKind::Phantom => "Normal",
        _ => "Warning",
    }
}

/// The Event's `action`.
pub(super) fn action(draft: &Draft) -> &'static str {
    match &draft.report {
        Report::Incident(_) => "Kill",
        Report::Mismatch(_) => "CompareStatus",
        Report::Warning(_) => "Warn",
        Report::BadAnnotations(_) => "ReadAnnotations",
        Report::NoVictim(_) => "SelectVictim",
    }
}

/// The Event's `reason`: what happened to its object.
pub(super) fn reason(draft: &Draft) -> &'static str {
    let incident = match &draft.report {
        Report::Incident(incident) => incident,
        Report::Mismatch(mismatch) => {
            return match mismatch.verdict {
                MismatchKind::Missed => "OOMKillMissed",
                MismatchKind::Phantom => "OOMKillPhantom",
            };
        }
        Report::Warning(warning) => {
            return match warning.crossing.level {
                Level::Warning => "MemoryNearLimit",
                Level::Critical => "MemoryAtLimit",
            };
        }
        Report::BadAnnotations(_) => return "AnnotationNotHeeded",
        Report::NoVictim(_) => return "OOMWithoutVictim",
    };
    match (&draft.on, incident.scope) {
        (On::Pod(_), _) if draft.outcome() == Outcome::ContainerDied => "OOMKilled",
        (On::Node(None), Scope::Node) => "NodeOutOfMemory",
        (On::Node(None), Scope::Sysrq) => "SysrqOOMKilled",
        _ => "ProcessOOMKilled",
    }
}

/// The Event's `note`; at most [`NOTE_LEN`] bytes. `facts` is what the API server told of the pod.
pub(super) fn note(draft: &Draft, facts: Option<&Facts>) -> String {
    let incident = match &draft.report {
        Report::Incident(incident) => incident,
        report => return other::note(report, draft.held_back),
    };
    let kill = Kill {
        draft,
        incident,
        victim: draft.victims().first().copied(),
        scope: scope(draft, incident, facts),
        has_pod_limit: facts
            .filter(|facts| facts.uid.is_some())
            .map(|facts| facts.limited),
    };
    let next = next::step(&kill);
    let mut told = headline::write(&kill);
    for sentence in cause::list(&kill) {
        told.push(' ');
        told.push_str(&sentence);
    }
    let room = NOTE_LEN.saturating_sub(next.len() + 1);
    if told.len() <= room {
        return format!("{told} {next}");
    }
    let cut = escape::truncate(&told, room.saturating_sub('…'.len_utf8()));
    format!("{cut}… {next}")
}

/// A container without a limit of its own gets the pod's from the kubelet. Alone in its pod it looks
/// like one that has that limit itself; only the spec tells.
fn scope(draft: &Draft, incident: &Incident, facts: Option<&Facts>) -> Scope {
    let subject = draft.subject();
    let name = subject.and_then(|subject| subject.container.as_ref()?.name.as_deref());
    let of_pod = facts
        .zip(name)
        .is_some_and(|(facts, name)| facts.has_pods_limit(name));
    match incident.scope {
        Scope::Container if of_pod => Scope::Pod,
        scope => scope,
    }
}

fn comm(victim: &Victim) -> String {
    victim
        .comm
        .as_deref()
        .map_or_else(|| "a process".to_owned(), |comm| shown(comm, COMM_LEN))
}

fn container_name(container: &Container) -> String {
    match &container.name {
        Some(name) => shown(name, CONTAINER_LEN),
        None => escape::terminal(escape::truncate(&container.id, 12)).to_string(),
    }
}

fn pod_name(pod: &Pod) -> String {
    match (&pod.namespace, &pod.name, &pod.uid) {
        (Some(namespace), Some(name), _) => format!(
            "pod {}/{}",
            shown(namespace, CONTAINER_LEN),
            shown(name, OBJECT_LEN)
        ),
        (_, _, Some(uid)) => format!(
            "a pod whose name could not be found out (uid {})",
            shown(uid, CONTAINER_LEN)
        ),
        _ => "an unknown pod".to_owned(),
    }
}

/// Who holds memory: a pod, a process of none, or a cgroup.
fn holder_name(holder: &Holder) -> String {
    match (&holder.pod, &holder.container, &holder.process) {
        (Some(pod), ..) => pod_name(pod),
        (None, Some(container), _) => format!("container {}", container_name(container)),
        (None, None, Some(process)) => {
            format!(
                "process {} (pid {})",
                shown(&process.comm, COMM_LEN),
                process.pid
            )
        }
        (None, None, None) => format!("cgroup {}", cgroup(&holder.cgroup)),
    }
}

/// The end of a path tells more than its start.
fn cgroup(path: &str) -> String {
    if path.len() <= CGROUP_LEN {
        return shown(path, CGROUP_LEN);
    }
    let from = path.ceil_char_boundary(path.len().saturating_sub(CGROUP_LEN));
    format!(
        "…{}",
        shown(path.get(from..).unwrap_or_default(), CGROUP_LEN)
    )
}

/// Its own name, without its ancestors'.
fn cgroup_name(path: &str) -> String {
    let name = path.rsplit('/').next().filter(|name| !name.is_empty());
    shown(name.unwrap_or(path), CGROUP_NAME_LEN)
}

/// Others' text, made harmless and cut to `max` bytes.
fn shown(text: &str, max: usize) -> String {
    let whole = escape::terminal(escape::truncate(text, max)).to_string();
    let cut = escape::truncate(&whole, max);
    if cut.len() < whole.len() || text.len() > max {
        format!("{cut}…")
    } else {
        whole
    }
}

/// Of our own words, the first with a capital.
fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}
