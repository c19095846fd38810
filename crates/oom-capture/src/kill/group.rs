//! Folds the kills of one cgroup that dies as one (`memory.oom.group`). Pure.
//!
//! They are of one invocation of `out_of_memory`, whose end is seen. Where that function cannot be
//! probed they are those of one cgroup and trigger that follow each other closely.

use std::collections::BTreeMap;

use memcg::ancestor;
use oom_agent_ebpf::{InvocationEnd, Level};

use super::level::is_full;
use super::{Control, Kill, Victim};

/// Where no end is seen, no further kill for this long means that the kernel is through with the
/// group: it marks all in one loop, and prints some lines to the console for each. Longer than a kill
/// waits to be read.
const QUIET_NS: u64 = 300_000_000;

/// A group whose end is not seen is told after this long, whatever still comes.
const LONGEST_NS: u64 = 10_000_000_000;

/// After an end all of its kills are given up within less; then some were lost.
const LOST_NS: u64 = 1_000_000_000;

/// A kill of a group waits for so long after the last one that was found.
const READ_NS: u64 = 500_000_000;

/// An end that has not come this long after a kill was lost.
const END_LOST_NS: u64 = 5_000_000_000;

/// Groups under way at once; more are told each kill for itself.
const GROUPS: usize = 64;

/// Ends that are remembered, for kills that are found later.
const ENDS: usize = 64;

/// Groups that are being killed.
#[derive(Default)]
pub(super) struct Groups {
    open: Vec<Group>,
    /// By invocation.
    ends: BTreeMap<u64, InvocationEnd>,
}

struct Group {
    found: Kill,
    invocation_ns: Option<u64>,
    end: Option<InvocationEnd>,
    /// Kills that have come.
    arrived: u64,
    first_ns: u64,
    last_ns: u64,
}

// === impl Groups ===

impl Groups {
    /// Takes a kill; gives it back when it is in no group.
    pub(super) fn take(&mut self, found: Kill, now_ns: u64) -> Option<Kill> {
        if let Some(group) = self.open.iter_mut().find(|group| group.has(&found)) {
            group.last_ns = now_ns;
            group.arrived += 1;
            group.found.fold(found);
            return None;
        }
        let is_member = found.victims.iter().any(|victim| victim.group.is_some());
        if !is_member || self.open.len() >= GROUPS {
            return Some(found);
        }
        let invocation_ns = found.control.as_ref().map(|control| control.invocation_ns);
        self.open.push(Group {
            found,
            invocation_ns,
            end: invocation_ns.and_then(|invocation_ns| self.ends.get(&invocation_ns).copied()),
            arrived: 1,
            first_ns: now_ns,
            last_ns: now_ns,
        });
        None
    }

    /// No more victims of that invocation will be marked.
    pub(super) fn end(&mut self, end: InvocationEnd, now_ns: u64) {
        let ended = Some(end.invocation_ns);
        if let Some(group) = self
            .open
            .iter_mut()
            .find(|group| group.invocation_ns == ended)
        {
            group.end = Some(end);
            group.last_ns = now_ns;
        }
        self.ends.insert(end.invocation_ns, end);
        if self.ends.len() > ENDS {
            self.ends.pop_first();
        }
    }

    /// Until when the kills of that invocation are still being read: so many die that some wait long for
    /// a CPU. 0 where it is no group's.
    pub(super) fn read_until_ns(&self, invocation_ns: u64) -> u64 {
        let group = |group: &&Group| group.invocation_ns == Some(invocation_ns);
        let group = self.open.iter().find(group);
        group.map_or(0, |group| group.last_ns.saturating_add(READ_NS))
    }

    /// The groups of which every kill has come.
    pub(super) fn complete(&mut self) -> Vec<Kill> {
        self.close_all(Group::is_complete)
    }

    /// The groups that have waited long enough. To be asked when no more records are there: what takes
    /// one of them may have taken as long as a group waits.
    pub(super) fn expire(&mut self, now_ns: u64) -> Vec<Kill> {
        self.close_all(|group| group.is_complete() || group.deadline_ns() <= now_ns)
    }

    fn close_all(&mut self, which: impl Fn(&Group) -> bool) -> Vec<Kill> {
        let closed = self.open.extract_if(.., |group| which(group));
        closed.map(Group::close).collect()
    }

    /// When the next one is.
    pub(super) fn deadline_ns(&self) -> Option<u64> {
        self.open.iter().map(Group::deadline_ns).min()
    }
}

/// The cgroup that dies as one with a victim, by its path: what `mem_cgroup_get_oom_group` of the
/// kernel's mm/memcontrol.c finds, the topmost one with `memory.oom.group` from the victim's own up to
/// the one whose limit was hit.
pub(super) fn group(victim: &Victim, control: Option<&Control>, page_size: u64) -> Option<String> {
    let path = victim.process.cgroup.as_deref()?;
    let highest = victim.levels.len().saturating_sub(1);
    let domain = match control {
        Some(control) if control.node => highest,
        Some(Control {
            memcg: Some(memcg), ..
        }) => (0..=highest).find(|depth| ancestor(path, *depth) == Some(memcg))?,
        // It was not seen: the nearest that stands at its limit, else any.
        _ => {
            let full = |level: &Level| is_full(level, page_size);
            victim.levels.iter().position(full).unwrap_or(highest)
        }
    };
    let within = victim.levels.get(..=domain)?;
    let depth = within.iter().rposition(|level| level.oom_group == 1)?;
    ancestor(path, depth).map(str::to_owned)
}

// === impl Group ===

impl Group {
    /// Whether a kill is one of this group's.
    fn has(&self, found: &Kill) -> bool {
        let invocation_ns = found.control.as_ref().map(|control| control.invocation_ns);
        if let (Some(own), Some(others)) = (self.invocation_ns, invocation_ns) {
            return own == others;
        }
        let path = |found: &Kill| found.victims.iter().find_map(|victim| victim.group.clone());
        let (own, others) = (&self.found.trigger, &found.trigger);
        let read = found.victims.iter().any(|victim| !victim.levels.is_empty());
        match path(found) {
            Some(group) => {
                let same_trigger = own == others || own.is_none() || others.is_none();
                same_trigger && path(&self.found) == Some(group)
            }
            // What was not read can only be told by its trigger.
            None => !read && others.is_some() && own == others,
        }
    }

    fn is_complete(&self) -> bool {
        self.end
            .is_some_and(|end| self.arrived >= u64::from(end.marks))
    }

    fn deadline_ns(&self) -> u64 {
        let after = |wait_ns| self.last_ns.saturating_add(wait_ns);
        match (self.end, self.found.end_follows) {
            (Some(_), _) => after(LOST_NS),
            (None, true) => after(END_LOST_NS),
            (None, false) => after(QUIET_NS).min(self.first_ns.saturating_add(LONGEST_NS)),
        }
    }

    fn close(mut self) -> Kill {
        // A process of which two threads were marked is one.
        let twice = self.arrived.saturating_sub(self.found.victim_count());
        let marks = self.end.map_or(0, |end| u64::from(end.marks));
        self.found.marked = marks.saturating_sub(twice);
        self.found.first_twice |= match self.end {
            Some(end) => end.first_again == 1,
            None => self.found.is_group(),
        };
        self.found
    }
}
