//! The sentences on the container's fate and on what held its memory. Pure.

use memcg::{Memory, is_within};
use oom_capture::Rss;

use super::{
    CELLS, KillText, capitalize, comm_or_default, container_name, holder_name, process_name,
};
use crate::incident::{Holder, Outcome, Scope, Victim};
use crate::size::size;

/// The sentences between the headline and the next step.
pub(super) fn sentences(kill: &KillText<'_>) -> impl Iterator<Item = String> {
    [
        group(kill),
        fate(kill),
        resident(kill),
        shared(kill),
        swap(kill),
        others(kill),
        holders(kill),
        last_minute(kill),
        held_back(kill.draft.held_back),
        trigger(kill),
    ]
    .into_iter()
    .flatten()
}

fn group(kill: &KillText<'_>) -> Option<String> {
    let others = match kill.draft.victim_count() {
        0 | 1 => return None,
        2 => "1 more process".to_owned(),
        all => format!("{} more processes", all - 1),
    };
    Some(format!("{others} died with it (memory.oom.group)."))
}

fn fate(kill: &KillText<'_>) -> Option<String> {
    kill.draft.subject()?;
    let text = match kill.draft.outcome() {
        Outcome::ContainerDied if kill.victims.len() > 1 => {
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

/// The figures of one victim do not describe a group.
fn resident(kill: &KillText<'_>) -> Option<String> {
    let [victim] = kill.victims.as_slice() else {
        return None;
    };
    let rss = victim.rss_bytes?;
    let total = rss.total();
    let kinds = [
        (rss.anon, "anonymous"),
        (rss.file, "of files"),
        (rss.shmem, "shared"),
    ];
    // Small parts are left out.
    let large = kinds.into_iter().filter(|(bytes, _)| *bytes > total / 16);
    let parts = match large.collect::<Vec<_>>().as_slice() {
        [] => String::new(),
        [(_, kind)] => format!(", mostly {kind}"),
        kinds => {
            let kinds = kinds.iter();
            let kinds = kinds.map(|(bytes, kind)| format!("{} {kind}", size(*bytes)));
            format!(" ({})", kinds.collect::<Vec<_>>().join(", "))
        }
    };
    let comm = comm_or_default(victim);
    Some(format!("{comm} held {}{parts}.", size(total)))
}

/// Where most of the memory is shared: how much of how much. It belongs to no single process, and a victim
/// may have freed the most of it by its death.
pub(super) fn shared_bytes(kill: &KillText<'_>) -> Option<(u64, u64)> {
    let memory = limits_memory(kill)?;
    let victims = kill.incident.victims.iter();
    let victims = victims.filter_map(|victim| Some(victim.rss_bytes?.shmem));
    let files = memory.stat.and_then(|stat| stat.shmem);
    let shared = files.into_iter().chain(victims).max()?;
    let whole = memory.usage_bytes.or(kill.incident.limit_bytes)?;
    (shared > whole / 2).then_some((shared.min(whole), whole))
}

/// The memory of the cgroup with the limit, or of the node.
fn limits_memory<'a>(kill: &KillText<'a>) -> Option<&'a Memory> {
    if matches!(kill.scope, Scope::Confined | Scope::Sysrq) {
        return None;
    }
    memory_of(kill, kill.incident.limit_cgroup.as_deref())
}

fn memory_of<'a>(kill: &KillText<'a>, cgroup: Option<&str>) -> Option<&'a Memory> {
    let mut memory = kill.incident.memory.iter();
    memory.find(|memory| memory.cgroup.as_deref() == cgroup)
}

fn shared(kill: &KillText<'_>) -> Option<String> {
    if let Some((shared, whole)) = shared_bytes(kill) {
        return Some(format!(
            "{} of the {} is shared memory (memory-backed volumes, /dev/shm, memfd).",
            size(shared),
            size(whole)
        ));
    }
    let rss = kill.first_victim()?.rss_bytes?;
    (rss.shmem > rss.total() / 2).then(|| {
        "Most of that is shared memory (memory-backed volumes, /dev/shm, memfd).".to_owned()
    })
}

/// Swap that is full or large, of the cgroup with the limit and of the one whose setting it is.
fn swap(kill: &KillText<'_>) -> Option<String> {
    let limits = limits_memory(kill)?;
    let setting = kill.incident.setting.as_ref();
    let setting = setting.and_then(|setting| memory_of(kill, Some(&setting.cgroup)));
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

/// Bytes that the victims held, where these do not explain why the limit was reached.
pub(super) fn unexplained(kill: &KillText<'_>) -> Option<u64> {
    let limit = kill.incident.setting_bytes()?;
    let all = kill.victims.iter().map(|victim| victim.rss_bytes);
    let all: Vec<Rss> = all.collect::<Option<_>>()?;
    let held: u64 = all.iter().map(|rss| rss.total()).sum();
    let shared: u64 = all.iter().map(|rss| rss.shmem).sum();
    let is_unexplained = kill.scope == Scope::Container
        && held < limit / 2
        && shared <= held / 2
        && shared_bytes(kill).is_none();
    is_unexplained.then_some(held)
}

fn others(kill: &KillText<'_>) -> Option<String> {
    let held = unexplained(kill)?;
    Some(match kill.victims.len() {
        1 => "That is less than half of the limit: other processes, or files in memory-backed volumes, hold the rest.".to_owned(),
        _ => format!("Together they held {}: files in memory-backed volumes or /dev/shm may hold the rest.", size(held)),
    })
}

fn last_minute(kill: &KillText<'_>) -> Option<String> {
    let before = kill.incident.before.as_ref();
    let before = before.filter(|_| kill.incident.is_at_limit())?;
    let words = before.describe()?;
    Some(format!("Last minute: {} {words}.", before.sparkline(CELLS)))
}

/// Who holds the memory that several share.
fn holders(kill: &KillText<'_>) -> Option<String> {
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
        let name = process_name(&process.comm, process.pid);
        format!("; its largest process is {name}")
    });
    let name = capitalize(&holder_name(hog));
    let held = size(left);
    Some(format!("{name} holds the most: {held}{limit}{process}."))
}

/// Who holds more than the victims did, where many share the memory; and how much.
pub(super) fn hog<'a>(kill: &KillText<'a>) -> Option<(&'a Holder, u64)> {
    if !matches!(kill.scope, Scope::Ancestor | Scope::Node) {
        return None;
    }
    let killed = |matches: &dyn Fn(&Victim) -> bool| -> u64 {
        let victims = kill.incident.victims.iter();
        let victims = victims.filter(|victim| matches(victim));
        let held = victims.filter_map(|victim| victim.rss_bytes);
        held.map(Rss::total).sum()
    };
    // The victims' memory is free again. The root cgroup charges processes only.
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

/// Not where many share the memory: the trigger is any process that wants a page. Nor where a limit was
/// lowered: the trigger is the runtime.
fn trigger(kill: &KillText<'_>) -> Option<String> {
    let is_shared = matches!(kill.scope, Scope::Node | Scope::Ancestor);
    if is_shared || kill.incident.limit_lowered {
        return None;
    }
    let trigger = kill.incident.trigger.as_ref()?;
    if kill.victims.iter().any(|victim| victim.pid == trigger.pid) {
        return None;
    }
    let name = process_name(&trigger.comm, trigger.pid);
    Some(format!("Set off by {name}."))
}
