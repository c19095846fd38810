//! What became of the container, and what its memory gives away of how it came to that. Pure.

use memcg::{Memory, is_within};
use oom_capture::Rss;

use super::{CELLS, COMM_LEN, Kill, capital, comm, container_name, holder_name, shown};
use crate::incident::{Holder, Outcome, Scope, Victim};
use crate::size::size;

/// The sentences between the first and the next step, as far as there is something to say.
pub(super) fn list(kill: &Kill<'_>) -> Vec<String> {
    let before = kill.incident.before.as_ref();
    let before = before.filter(|_| kill.incident.is_at_limit());
    let all = [
        group(kill),
        fate(kill),
        resident(kill),
        shared(kill),
        swap(kill),
        others(kill),
        holders(kill),
        before.and_then(|before| {
            let words = before.describe()?;
            Some(format!("Last minute: {} {words}.", before.sparkline(CELLS)))
        }),
        held_back(kill.draft.held_back),
        trigger(kill),
    ];
    all.into_iter().flatten().collect()
}

fn group(kill: &Kill<'_>) -> Option<String> {
    let others = kill.draft.victim_count().checked_sub(1)?;
    let processes = match others {
        0 => return None,
        1 => "process",
        _ => "processes",
    };
    Some(format!(
        "{others} more {processes} died with it (memory.oom.group)."
    ))
}

fn fate(kill: &Kill<'_>) -> Option<String> {
    kill.draft.subject()?;
    let text = match kill.draft.outcome() {
        Outcome::ContainerDied if kill.draft.victims().len() > 1 => {
            "The first process was among them, so the container died."
        }
        Outcome::ContainerDied => "It was the first process (PID 1), so the container died.",
        Outcome::ChildDied => {
            "The container's first process lives on, and Kubernetes may report nothing."
        }
        Outcome::AlreadyExiting => "It was exiting already when it was chosen.",
        Outcome::NoKillableProcess | Outcome::OomKillDisabled | Outcome::Unknown => {
            "Whether the container died is not known."
        }
    };
    Some(text.to_owned())
}

/// Of a group the first alone tells nothing.
fn resident(kill: &Kill<'_>) -> Option<String> {
    if kill.draft.victims().len() > 1 {
        return None;
    }
    let rss = kill.victim?.rss_bytes?;
    let kinds = [
        (rss.anon, "anonymous"),
        (rss.file, "of files"),
        (rss.shmem, "shared"),
    ];
    let total = rss.total();
    let held = format!("{} held {}", comm(kill.victim?), size(total));
    // The small ones say nothing.
    let large = kinds.into_iter().filter(|(bytes, _)| *bytes > total / 16);
    let large: Vec<(u64, &str)> = large.collect();
    Some(match large.as_slice() {
        [] => format!("{held}."),
        [(_, kind)] => format!("{held}, mostly {kind}."),
        kinds => {
            let kinds = kinds
                .iter()
                .map(|(bytes, kind)| format!("{} {kind}", size(*bytes)));
            format!("{held} ({}).", kinds.collect::<Vec<_>>().join(", "))
        }
    })
}

/// Where shared memory decides: how much of how much. It is no process's alone, so that none gives
/// it away; a victim that took its own along may have had the most of it.
pub(super) fn shared_bytes(kill: &Kill<'_>) -> Option<(u64, u64)> {
    let memory = limits_memory(kill)?;
    let victims = kill.incident.victims.iter();
    let victims = victims.filter_map(|victim| Some(victim.rss_bytes?.shmem));
    let files = memory.stat.and_then(|stat| stat.shmem);
    let shared = files.into_iter().chain(victims).max()?;
    let whole = memory.usage_bytes.or(kill.incident.limit_bytes)?;
    (shared > whole / 2).then_some((shared.min(whole), whole))
}

/// That of the cgroup that has the limit, or of the node.
fn limits_memory<'a>(kill: &Kill<'a>) -> Option<&'a Memory> {
    if matches!(kill.scope, Scope::Confined | Scope::Sysrq) {
        return None;
    }
    let mut memory = kill.incident.memory.iter();
    memory.find(|memory| memory.cgroup == kill.incident.limit_cgroup)
}

fn shared(kill: &Kill<'_>) -> Option<String> {
    if let Some((shared, whole)) = shared_bytes(kill) {
        return Some(format!(
            "{} of the {} is shared memory (memory-backed volumes, /dev/shm, memfd).",
            size(shared),
            size(whole)
        ));
    }
    let rss = kill.victim?.rss_bytes?;
    (rss.shmem > rss.total() / 2).then(|| {
        "Most of that is shared memory (memory-backed volumes, /dev/shm, memfd).".to_owned()
    })
}

/// Swap that is full, or holds much: of the cgroup that has the limit, and of the one whose setting it is.
fn swap(kill: &Kill<'_>) -> Option<String> {
    let limits = limits_memory(kill)?;
    let setting = kill.incident.setting.as_ref();
    let setting = setting.and_then(|setting| {
        let mut memory = kill.incident.memory.iter();
        memory.find(|memory| memory.cgroup.as_deref() == Some(&setting.cgroup))
    });
    let full = setting.into_iter().chain([limits]).find_map(|memory| {
        let (used, limit) = (memory.swap_bytes?, memory.swap_limit_bytes?);
        (used > 0 && limit.saturating_sub(used) <= limit / 64).then_some(used)
    });
    if let Some(used) = full {
        return Some(format!("Swap was full, too ({}).", size(used)));
    }
    let (used, usage) = (limits.swap_bytes?, limits.usage_bytes?);
    (used > usage / 8).then(|| format!("{} more is in swap.", size(used)))
}

/// Bytes that the victims held, where that does not explain how the limit was reached.
pub(super) fn unexplained(kill: &Kill<'_>) -> Option<u64> {
    let limit = kill.incident.setting_bytes()?;
    let victims = kill.draft.victims();
    let all = victims.iter().map(|victim| victim.rss_bytes);
    let all: Vec<Rss> = all.collect::<Option<_>>()?;
    let held: u64 = all.iter().map(|rss| rss.total()).sum();
    let shared: u64 = all.iter().map(|rss| rss.shmem).sum();
    let is_unexplained = kill.scope == Scope::Container
        && held < limit / 2
        && shared <= held / 2
        && shared_bytes(kill).is_none();
    is_unexplained.then_some(held)
}

fn others(kill: &Kill<'_>) -> Option<String> {
    let held = unexplained(kill)?;
    Some(match kill.draft.victims().len() {
        1 => "That is less than half of the limit: other processes, or files in memory-backed volumes, hold the rest.".to_owned(),
        _ => format!("Together they held {}: files in memory-backed volumes or /dev/shm may hold the rest.", size(held)),
    })
}

/// Who holds what several share.
fn holders(kill: &Kill<'_>) -> Option<String> {
    let holders = &kill.incident.holders;
    if matches!(kill.scope, Scope::Container | Scope::Pod) {
        let held = holders.iter().take(3).filter_map(|holder| {
            let name = container_name(holder.container.as_ref()?);
            Some(format!("{name} {}", size(holder.usage_bytes)))
        });
        let held: Vec<String> = held.collect();
        return (held.len() > 1).then(|| format!("In the pod: {}.", held.join(", ")));
    }
    let (hog, left) = hog(kill)?;
    let limit = match (hog.limit_bytes, &hog.pod) {
        (Some(limit), _) => format!(", of a limit of {}", size(limit)),
        (None, Some(_)) => ", without a memory limit".to_owned(),
        (None, None) => String::new(),
    };
    let process = hog.process.as_ref();
    let process = process.filter(|_| hog.pod.is_some() || hog.container.is_some());
    let process = process.map_or_else(String::new, |process| {
        let comm = shown(&process.comm, COMM_LEN);
        format!("; its largest process is {comm} (pid {})", process.pid)
    });
    let name = capital(&holder_name(hog));
    Some(format!(
        "{name} holds the most: {}{limit}{process}.",
        size(left)
    ))
}

/// Who holds more than the victims did, where many share; and how much.
pub(super) fn hog<'a>(kill: &Kill<'a>) -> Option<(&'a Holder, u64)> {
    if !matches!(kill.scope, Scope::Ancestor | Scope::Node) {
        return None;
    }
    let killed = |of: &dyn Fn(&Victim) -> bool| -> u64 {
        let victims = kill.incident.victims.iter().filter(|victim| of(victim));
        victims
            .filter_map(|victim| victim.rss_bytes.map(Rss::total))
            .sum()
    };
    // What was theirs is given back; in the root cgroup nothing is charged but to a process.
    let left = |holder: &&Holder| {
        let own = killed(&|victim| {
            let cgroup = victim.cgroup.as_deref();
            cgroup.is_some_and(|cgroup| holder.cgroup != "/" && is_within(cgroup, &holder.cgroup))
        });
        holder.usage_bytes.saturating_sub(own)
    };
    let largest = kill.incident.holders.iter().max_by_key(left);
    let largest = largest.map(|largest| (largest, left(&largest)));
    largest.filter(|(_, left)| *left > killed(&|_| true))
}

fn held_back(count: u64) -> Option<String> {
    let kills = match count {
        0 => return None,
        1 => "kill",
        _ => "kills",
    };
    Some(format!(
        "{count} more OOM {kills} here since the last Event had none of their own: see the agent's output."
    ))
}

/// Of what many share it is any process that wants a page, and where a limit was lowered it is the
/// runtime, at somebody's request: neither is a reason.
fn trigger(kill: &Kill<'_>) -> Option<String> {
    let is_shared = matches!(kill.scope, Scope::Node | Scope::Ancestor);
    if is_shared || kill.incident.limit_lowered {
        return None;
    }
    let trigger = kill.incident.trigger.as_ref()?;
    let is_victim = |victim: &&Victim| victim.pid == trigger.pid;
    if kill.draft.victims().iter().any(is_victim) {
        return None;
    }
    let comm = shown(&trigger.comm, COMM_LEN);
    Some(format!("Set off by {comm} (pid {}).", trigger.pid))
}
