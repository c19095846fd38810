//! The message of an Event, for the person on call. Pure.
//!
//! One sentence has the container, the process and the limit. Then come the container's fate and the
//! cause. What to do next is at the end, and never cut off.

mod cause;
mod headline;
mod next;
mod other;

#[cfg(test)]
mod tests;

use service::escape;

use super::draft::Draft;
use super::pod;
use crate::incident::{Container, Holder, Incident, Pod, Scope, Victim};
use crate::report::Report;
use crate::size::size;

/// The API server's limit, in bytes.
pub(super) const NOTE_LEN: usize = 1024;

/// Characters of the sparkline, of three bytes each.
const CELLS: usize = 20;

/// The longest names shown, in bytes: the bounds of Kubernetes and the kernel, or more.
const COMM_LEN: usize = 48;
const CONTAINER_LEN: usize = 63;
const OBJECT_LEN: usize = 80;
const CGROUP_LEN: usize = 100;

/// The longest name of a cgroup in the headline, in bytes.
const CGROUP_NAME_LEN: usize = 28;

/// What the message of a kill is made of.
struct KillText<'a> {
    draft: &'a Draft,
    incident: &'a Incident,
    /// Those that the Event regards.
    victims: Vec<&'a Victim>,
    /// Whose limit it was, also by the pod's spec.
    scope: Scope,
    /// Whether the pod's spec has a memory limit of its own; `None` where the spec is not known.
    has_pod_limit: Option<bool>,
}

/// At most [`NOTE_LEN`] bytes. `pod` is what the API server knows of it.
pub(super) fn message(draft: &Draft, pod: Option<&pod::Pod>) -> String {
    let incident = match &draft.report {
        Report::Incident(incident) => incident,
        report => return other::message(report, draft.held_back),
    };
    let kill = KillText {
        draft,
        incident,
        victims: draft.victims(),
        scope: scope(draft, incident, pod),
        has_pod_limit: pod
            .filter(|pod| pod.uid().is_some())
            .map(pod::Pod::is_limited),
    };
    let next = next::next_step(&kill);
    let mut text = headline::headline(&kill);
    for sentence in cause::sentences(&kill) {
        text.push(' ');
        text.push_str(&sentence);
    }
    let room = NOTE_LEN.saturating_sub(next.len() + 1);
    if text.len() <= room {
        return format!("{text} {next}");
    }
    let cut = escape::truncate(&text, room.saturating_sub('…'.len_utf8()));
    format!("{cut}… {next}")
}

/// The kubelet gives a container without a limit the pod's. If it is alone in its pod, only the spec shows
/// whose limit it is.
fn scope(draft: &Draft, incident: &Incident, pod: Option<&pod::Pod>) -> Scope {
    let subject = draft.subject();
    let name = subject.and_then(|subject| subject.container.as_ref()?.name.as_deref());
    let has_pods_limit = pod
        .zip(name)
        .is_some_and(|(pod, name)| pod.has_pods_limit(name));
    match incident.scope {
        Scope::Container if has_pods_limit => Scope::Pod,
        scope => scope,
    }
}

// === impl KillText ===

impl<'a> KillText<'a> {
    fn first_victim(&self) -> Option<&'a Victim> {
        self.victims.first().copied()
    }

    /// The name of the container that the Event regards.
    fn subject_name(&self) -> Option<String> {
        let container = self.draft.subject()?.container.as_ref()?;
        container.name.as_ref()?;
        Some(container_name(container))
    }
}

fn comm_or_default(victim: &Victim) -> String {
    let comm = victim.comm.as_deref();
    comm.map_or_else(|| "a process".to_owned(), cut_comm)
}

fn cut_comm(comm: &str) -> String {
    escape_and_cut(comm, COMM_LEN)
}

fn process_name(comm: &str, pid: u32) -> String {
    format!("{} (pid {pid})", cut_comm(comm))
}

/// The text and the size; empty without a size.
fn with_size(text: &str, bytes: Option<u64>) -> String {
    bytes.map_or_else(String::new, |bytes| format!("{text}{}", size(bytes)))
}

fn container_name(container: &Container) -> String {
    escape_and_cut(container.label(), CONTAINER_LEN)
}

fn pod_name(pod: &Pod) -> String {
    match (&pod.namespace, &pod.name, &pod.uid) {
        (Some(namespace), Some(name), _) => format!(
            "pod {}/{}",
            escape_and_cut(namespace, CONTAINER_LEN),
            escape_and_cut(name, OBJECT_LEN)
        ),
        (_, _, Some(uid)) => format!(
            "a pod whose name could not be found out (uid {})",
            escape_and_cut(uid, CONTAINER_LEN)
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
            format!("process {}", process_name(&process.comm, process.pid))
        }
        (None, None, None) => format!("cgroup {}", cgroup(&holder.cgroup)),
    }
}

/// Cuts a long path at its start: the end identifies it.
fn cgroup(path: &str) -> String {
    let from = path.ceil_char_boundary(path.len().saturating_sub(CGROUP_LEN));
    let cut = if from > 0 { "…" } else { "" };
    let end = path.get(from..).unwrap_or_default();
    format!("{cut}{}", escape_and_cut(end, CGROUP_LEN))
}

/// The last segment of the path.
fn cgroup_name(path: &str) -> String {
    let name = path.rsplit('/').next().filter(|name| !name.is_empty());
    escape_and_cut(name.unwrap_or(path), CGROUP_NAME_LEN)
}

/// Escapes untrusted text and cuts it to `max` bytes.
fn escape_and_cut(text: &str, max: usize) -> String {
    let whole = escape::terminal(escape::truncate(text, max)).to_string();
    let cut = escape::truncate(&whole, max);
    if cut.len() < whole.len() || text.len() > max {
        format!("{cut}…")
    } else {
        whole
    }
}

/// ASCII only.
fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}
