//! The words of an Event, for somebody who is woken by it. Pure.
//!
//! First who died, of what size and at whose limit; then what became of the container; at the end, and
//! never cut off, what to do next.

mod aside;
mod next;

#[cfg(test)]
mod tests;

use super::draft::{Aside, Draft, On, Subject, Told};
use crate::escape;
use crate::incident::{Container, Incident, Outcome, Rss, Scope, Victim};
use crate::pressure::threshold::Level;
use crate::size::size;
use crate::story::Verdict;

/// What the API server takes at most, in bytes.
pub(super) const NOTE_LEN: usize = 1024;

/// Characters of the last minute's picture, of three bytes each.
const CELLS: usize = 20;

/// The longest names shown, in bytes: more than honest ones have, where Kubernetes or the kernel bounds them.
const COMM_LEN: usize = 48;
const CONTAINER_LEN: usize = 63;
const OBJECT_LEN: usize = 80;
const CGROUP_LEN: usize = 100;

/// The Event's `type`: nothing is wrong with a container that is wrongly called killed.
pub(super) fn kind(draft: &Draft) -> &'static str {
    match &draft.told {
        Told::Aside(Aside::Verdict(finding)) if finding.verdict == Verdict::Phantom => "Normal",
        _ => "Warning",
    }
}

/// The Event's `action`.
pub(super) fn action(draft: &Draft) -> &'static str {
    match &draft.told {
        Told::Kill(_) => "Kill",
        Told::Aside(Aside::Verdict(_)) => "CompareStatus",
        Told::Aside(Aside::Warning(_)) => "Warn",
        Told::Aside(Aside::Unheeded(_)) => "ReadAnnotations",
        Told::Aside(Aside::NoVictim(_)) => "SelectVictim",
    }
}

/// The Event's `reason`: what happened to its object.
pub(super) fn reason(draft: &Draft) -> &'static str {
    let incident = match &draft.told {
        Told::Kill(incident) => incident,
        Told::Aside(Aside::Verdict(finding)) => {
            return match finding.verdict {
                Verdict::Missed => "OOMKillMissed",
                Verdict::Phantom => "OOMKillPhantom",
            };
        }
        Told::Aside(Aside::Warning(warning)) => {
            return match warning.crossing.level {
                Level::Warning => "MemoryNearLimit",
                Level::Critical => "MemoryAtLimit",
            };
        }
        Told::Aside(Aside::Unheeded(_)) => return "AnnotationNotHeeded",
        Told::Aside(Aside::NoVictim(_)) => return "OOMWithoutVictim",
    };
    match (&draft.on, incident.scope) {
        (On::Pod(_), _) if draft.outcome() == Outcome::ContainerDied => "OOMKilled",
        (On::Node(None), Scope::Node) => "NodeOutOfMemory",
        (On::Node(None), Scope::Sysrq) => "SysrqOOMKilled",
        _ => "ProcessOOMKilled",
    }
}

/// The Event's `note`; at most [`NOTE_LEN`] bytes.
pub(super) fn note(draft: &Draft) -> String {
    let incident = match &draft.told {
        Told::Kill(incident) => incident,
        Told::Aside(aside) => return aside::note(aside, draft.held_back),
    };
    let next = next::step(draft, incident);
    let told = told(draft, incident);
    let room = NOTE_LEN.saturating_sub(next.len() + 1);
    if told.len() <= room {
        return format!("{told} {next}");
    }
    let cut = escape::truncate(&told, room.saturating_sub('…'.len_utf8()));
    format!("{cut}… {next}")
}

fn told(draft: &Draft, incident: &Incident) -> String {
    let victims = draft.victims();
    let Some(&victim) = victims.first() else {
        return "The OOM killer struck, and nothing is known of its victim.".to_owned();
    };
    let mut text = headline(draft, victim) + &limit(incident);
    let mut say = |sentence: &str| {
        text.push(' ');
        text.push_str(sentence);
    };
    if let [_, others @ ..] = victims.as_slice()
        && !others.is_empty()
    {
        let (n, were) = (others.len(), if others.len() == 1 { "was" } else { "were" });
        say(&format!(
            "{n} more of its group {were} killed with it (memory.oom.group)."
        ));
    }
    if draft.subject().is_some() {
        say(fate(draft.outcome()));
    }
    if let Some(hint) = hint(draft, incident, victim) {
        say(hint);
    }
    if let Some(before) = &incident.before
        && let Some(words) = before.words()
    {
        let picture = before.sparkline(CELLS);
        say(&format!("In the minute before: {picture} {words}."));
    }
    if draft.held_back > 0 {
        let (n, kills) = (draft.held_back, plural(draft.held_back, "kill", "kills"));
        say(&format!(
            "{n} more OOM {kills} here since the last Event had none of their own: see the agent's output."
        ));
    }
    if let Some(trigger) = &incident.trigger
        && trigger.pid != victim.pid
    {
        say(&format!(
            "Set off by an allocation of {} (pid {}).",
            shown(&trigger.comm, COMM_LEN),
            trigger.pid
        ));
    }
    text
}

fn headline(draft: &Draft, victim: &Victim) -> String {
    let who = format!("{} (pid {})", comm(victim), victim.pid);
    let held = victim
        .rss_bytes
        .map_or_else(String::new, |rss| format!(", holding {},", resident(rss)));
    match &draft.on {
        On::Pod(subject) => {
            let place = container(subject);
            match draft.outcome() {
                Outcome::ContainerDied => format!("{place} was OOM-killed: {who}{held} died"),
                _ => format!(
                    "A process in {} was OOM-killed: {who}{held} died",
                    lower(&place)
                ),
            }
        }
        On::Node(subject) => {
            let place = match subject.as_ref().or(whose(victim).as_ref()) {
                Some(subject) => format!("{} of {}", lower(&container(subject)), pod(subject)),
                None => outside(victim),
            };
            format!("A process was OOM-killed: {who} in {place}{held} died")
        }
    }
}

/// Where a victim is that is in no pod.
fn outside(victim: &Victim) -> String {
    match (&victim.container, &victim.cgroup) {
        (Some(container), _) => format!("container {} of no pod", container_name(container)),
        (None, Some(path)) => format!("cgroup {}", cgroup(path)),
        (None, None) => "an unknown cgroup".to_owned(),
    }
}

/// Whom a victim belongs to, on the Node's Event.
fn whose(victim: &Victim) -> Option<Subject> {
    Some(Subject {
        victim: 0,
        pod: victim.pod.clone()?,
        container: victim.container.clone(),
    })
}

fn limit(incident: &Incident) -> String {
    let of = incident
        .limit_bytes
        .map(|bytes| format!(" of {}", size(bytes)))
        .unwrap_or_default();
    match incident.scope {
        Scope::Container => format!(" when the container reached its memory limit{of}."),
        Scope::Pod => format!(
            " when the pod reached its memory limit{of}, which its containers and its memory-backed volumes share."
        ),
        Scope::Ancestor => {
            let path = incident.limit_cgroup.as_deref().unwrap_or("unknown");
            format!(
                " when cgroup {} reached its memory limit{of}, which all below it share.",
                cgroup(path)
            )
        }
        Scope::Node => {
            let node = shown(&incident.node, OBJECT_LEN);
            let confined = incident.oom.as_ref().map(|oom| oom.constraint.as_str());
            match confined {
                Some("cpuset" | "memory-policy") => format!(
                    " because the part of node {node}'s memory that the allocation was confined to ({}) was full; no limit was reached.",
                    confined.unwrap_or_default()
                ),
                _ => format!(
                    " because node {node} had no memory left{}; no limit was reached.",
                    incident
                        .limit_bytes
                        .map(|bytes| format!(" of its {}", size(bytes)))
                        .unwrap_or_default()
                ),
            }
        }
        Scope::Sysrq => format!(
            " because somebody asked the kernel of node {} for it (SysRq f); no limit was reached.",
            shown(&incident.node, OBJECT_LEN)
        ),
        Scope::Unknown => "; whose limit was reached is not known.".to_owned(),
    }
}

fn fate(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::ContainerDied => {
            "It was the container's first process, so the container died; its restartPolicy decides what follows."
        }
        Outcome::ChildDied => {
            "The container's first process was not killed, so the container may go on without it, and Kubernetes may report nothing."
        }
        Outcome::AlreadyExiting => "It was exiting already when it was chosen.",
        Outcome::NoKillableProcess | Outcome::OomKillDisabled | Outcome::Unknown => {
            "Whether the container died is not known."
        }
    }
}

/// What the sizes give away.
fn hint(draft: &Draft, incident: &Incident, victim: &Victim) -> Option<&'static str> {
    let rss = victim.rss_bytes?;
    if rss.shmem > rss.total() / 2 {
        return Some(
            "Most of that is shared memory: files in memory-backed volumes and /dev/shm count.",
        );
    }
    let limit = incident.limit_bytes?;
    let alone = draft.victims().len() == 1;
    (incident.scope == Scope::Container && alone && rss.total() < limit / 2).then_some(
        "It held less than half of the limit: other processes, or files in memory-backed volumes, hold the rest.",
    )
}

fn comm(victim: &Victim) -> String {
    victim
        .comm
        .as_deref()
        .map_or_else(|| "a process".to_owned(), |comm| shown(comm, COMM_LEN))
}

/// With a capital, as a sentence begins.
fn container(subject: &Subject) -> String {
    match &subject.container {
        None => "The pod".to_owned(),
        Some(container) => format!("Container {}", container_name(container)),
    }
}

fn container_name(container: &Container) -> String {
    match &container.name {
        Some(name) => shown(name, CONTAINER_LEN),
        None => escape::terminal(escape::truncate(&container.id, 12)).to_string(),
    }
}

fn lower(place: &str) -> String {
    place
        .replacen("Container", "container", 1)
        .replacen("The pod", "a cgroup of its own", 1)
}

fn pod(subject: &Subject) -> String {
    let pod = &subject.pod;
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

fn resident(rss: Rss) -> String {
    let parts = [
        (rss.anon, "anonymous"),
        (rss.file, "of files"),
        (rss.shmem, "shared"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(bytes, _)| *bytes > 0)
        .map(|(bytes, kind)| format!("{} {kind}", size(bytes)))
        .collect();
    match parts.as_slice() {
        [] | [_] => size(rss.total()),
        parts => format!("{} ({})", size(rss.total()), parts.join(", ")),
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

fn plural<'a>(n: u64, one: &'a str, many: &'a str) -> &'a str {
    if n == 1 { one } else { many }
}
