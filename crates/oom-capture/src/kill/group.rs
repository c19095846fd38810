//! Folds the kills of a cgroup that dies as one (`memory.oom.group`) into one. Pure.
//!
//! They are of one invocation of `out_of_memory`, whose return completes the group. Where that function cannot be
//! probed, kills of one cgroup and one trigger that follow each other closely are a group.

use std::collections::BTreeMap;

use memcg::ancestor;
use oom_agent_ebpf::{InvocationEnd, Level};

use super::level::is_full;
use super::victims::{Kill, OomControl, Victim};

/// A group without an end is complete when no further kill has come for this long: the kernel marks all in one
/// loop, and prints some lines to the console for each. Longer than a kill waits for its autopsy.
const QUIET_NS: u64 = 300_000_000;

/// A group without an end is complete after this long, even if kills still come.
const LONGEST_NS: u64 = 10_000_000_000;

/// Every kill of a group is given up sooner than this after the group's end: one that is missing then was lost.
const LOST_NS: u64 = 1_000_000_000;

/// How long a kill of a group waits for its autopsy after the group's last kill.
const READ_NS: u64 = 500_000_000;

/// The end of a group was lost if it has not come this long after a kill.
const END_LOST_NS: u64 = 5_000_000_000;

/// The most open groups; kills beyond them are not folded.
const GROUPS: usize = 64;

/// The most ends that are remembered for kills that come later.
const ENDS: usize = 64;

#[derive(Default)]
pub(super) struct Groups {
    open: Vec<Group>,
    /// By the stamp of the invocation.
    ends: BTreeMap<u64, InvocationEnd>,
}

struct Group {
    kill: Kill,
    invocation_ns: Option<u64>,
    end: Option<InvocationEnd>,
    /// How many kills have come.
    arrived: u64,
    first_ns: u64,
    last_ns: u64,
}

// === impl Groups ===

impl Groups {
    /// Folds a kill into its group; returns it when it is in none.
    pub(super) fn fold_kill(&mut self, kill: Kill, now_ns: u64) -> Option<Kill> {
        if let Some(group) = self.open.iter_mut().find(|group| group.contains(&kill)) {
            group.last_ns = now_ns;
            group.arrived += 1;
            group.kill.fold(kill);
            return None;
        }
        let is_member = kill.victims.iter().any(|victim| victim.group.is_some());
        if !is_member || self.open.len() >= GROUPS {
            return Some(kill);
        }
        let invocation_ns = invocation_ns(&kill);
        self.open.push(Group {
            kill,
            invocation_ns,
            end: invocation_ns.and_then(|invocation_ns| self.ends.get(&invocation_ns).copied()),
            arrived: 1,
            first_ns: now_ns,
            last_ns: now_ns,
        });
        None
    }

    /// No more victims of this invocation will be marked.
    pub(super) fn end_invocation(&mut self, end: InvocationEnd, now_ns: u64) {
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

    /// Until when kills of a group wait for their autopsies: where many processes die, some wait long for a CPU.
    /// 0 where the invocation has no group.
    pub(super) fn read_until_ns(&self, invocation_ns: u64) -> u64 {
        let group = |group: &&Group| group.invocation_ns == Some(invocation_ns);
        let group = self.open.iter().find(group);
        group.map_or(0, |group| group.last_ns.saturating_add(READ_NS))
    }

    pub(super) fn take_complete(&mut self) -> Vec<Kill> {
        self.close_where(Group::is_complete)
    }

    /// The groups that have waited long enough. To be called when the ring is empty: handling the records before
    /// may have taken as long as a group waits.
    pub(super) fn take_overdue(&mut self, now_ns: u64) -> Vec<Kill> {
        self.close_where(|group| group.is_complete() || group.deadline_ns() <= now_ns)
    }

    fn close_where(&mut self, which: impl Fn(&Group) -> bool) -> Vec<Kill> {
        let closed = self.open.extract_if(.., |group| which(group));
        closed.map(Group::close).collect()
    }

    pub(super) fn deadline_ns(&self) -> Option<u64> {
        self.open.iter().map(Group::deadline_ns).min()
    }
}

/// The path of the cgroup that dies as one with a victim: the topmost one with `memory.oom.group` from the
/// victim's own up to the one whose limit was hit, as `mem_cgroup_get_oom_group` of the kernel's mm/memcontrol.c
/// finds it.
pub(super) fn find_oom_group(
    victim: &Victim,
    control: Option<&OomControl>,
    page_size: u64,
) -> Option<String> {
    let path = victim.process.cgroup.as_deref()?;
    let highest = victim.levels.len().saturating_sub(1);
    let domain = match control {
        Some(control) if control.node => highest,
        Some(OomControl {
            memcg: Some(memcg), ..
        }) => (0..=highest).find(|depth| ancestor(path, *depth) == Some(memcg))?,
        // No probe saw the limit: the nearest full cgroup, else the root.
        _ => {
            let full = |level: &Level| is_full(level, page_size);
            victim.levels.iter().position(full).unwrap_or(highest)
        }
    };
    let within = victim.levels.get(..=domain)?;
    let depth = within.iter().rposition(|level| level.oom_group == 1)?;
    ancestor(path, depth).map(str::to_owned)
}

fn invocation_ns(kill: &Kill) -> Option<u64> {
    kill.control.as_ref().map(|control| control.invocation_ns)
}

// === impl Group ===

impl Group {
    fn contains(&self, kill: &Kill) -> bool {
        if let (Some(own), Some(others)) = (self.invocation_ns, invocation_ns(kill)) {
            return own == others;
        }
        let path = |kill: &Kill| kill.victims.iter().find_map(|victim| victim.group.clone());
        let (own, others) = (&self.kill.trigger, &kill.trigger);
        let is_read = kill.victims.iter().any(|victim| !victim.levels.is_empty());
        match path(kill) {
            Some(group) => {
                let same_trigger = own == others || own.is_none() || others.is_none();
                same_trigger && path(&self.kill) == Some(group)
            }
            // The cgroup of an unread victim is unknown; only the trigger is left to compare.
            None => !is_read && others.is_some() && own == others,
        }
    }

    fn is_complete(&self) -> bool {
        self.end
            .is_some_and(|end| self.arrived >= u64::from(end.marks))
    }

    fn deadline_ns(&self) -> u64 {
        let after = |wait_ns| self.last_ns.saturating_add(wait_ns);
        match (self.end, self.kill.end_follows) {
            (Some(_), _) => after(LOST_NS),
            (None, true) => after(END_LOST_NS),
            (None, false) => after(QUIET_NS).min(self.first_ns.saturating_add(LONGEST_NS)),
        }
    }

    fn close(mut self) -> Kill {
        // A process of which two threads were marked is one victim.
        let twice = self.arrived.saturating_sub(self.kill.victim_count());
        let marks = self.end.map_or(0, |end| u64::from(end.marks));
        self.kill.marked = marks.saturating_sub(twice);
        self.kill.first_twice |= match self.end {
            Some(end) => end.first_again == 1,
            None => self.kill.is_group(),
        };
        self.kill
    }
}
