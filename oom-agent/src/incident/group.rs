//! Folds the kills of one cgroup that dies as one (`memory.oom.group`). Pure.

use std::collections::BTreeMap;

use super::{Found, Killed};

/// No further mark for this long means that the kernel is through with the group: it marks
/// all in one loop, and prints some lines to the console for each.
const QUIET_NS: u64 = 100_000_000;

/// A group is told after this long, whatever still comes.
const LONGEST_NS: u64 = 2_000_000_000;

/// Victims in one incident; more become a second one.
const VICTIMS: usize = 256;

/// Groups under way at once; more are told each kill for itself.
const GROUPS: usize = 64;

/// Groups that are being killed, by the path of their cgroup.
#[derive(Default)]
pub(super) struct Groups {
    open: BTreeMap<String, Group>,
}

struct Group {
    found: Found,
    first_ns: u64,
    last_ns: u64,
}

// === impl Groups ===

impl Groups {
    /// Takes a kill; gives it back when it is in no group, and what is complete by it.
    pub(super) fn take(&mut self, found: Found, now_ns: u64) -> Option<Found> {
        let own = found.killed.first().and_then(Killed::group);
        // Without an autopsy only the trigger tells that it belongs to a group under way.
        let key = own.map(str::to_owned).or_else(|| {
            let trigger = found.trigger.as_ref()?;
            self.open
                .iter()
                .find(|(_, group)| group.found.trigger.as_ref() == Some(trigger))
                .map(|(path, _)| path.clone())
        });
        let Some(key) = key else {
            return Some(found);
        };
        if let Some(group) = self.open.get_mut(&key) {
            group.last_ns = now_ns;
            group.found.fold(found);
            return (group.found.killed.len() >= VICTIMS)
                .then(|| self.open.remove(&key))
                .flatten()
                .map(Group::close);
        }
        if self.open.len() >= GROUPS {
            return Some(found);
        }
        let group = Group {
            found,
            first_ns: now_ns,
            last_ns: now_ns,
        };
        self.open.insert(key, group);
        None
    }

    /// The groups that are complete by now.
    pub(super) fn expire(&mut self, now_ns: u64) -> Vec<Found> {
        let complete = self
            .open
            .extract_if(.., |_, group| group.deadline_ns() <= now_ns);
        complete.map(|(_, group)| group.close()).collect()
    }

    /// When the next one is.
    pub(super) fn deadline_ns(&self) -> Option<u64> {
        self.open.values().map(Group::deadline_ns).min()
    }
}

// === impl Group ===

impl Group {
    fn deadline_ns(&self) -> u64 {
        self.last_ns
            .saturating_add(QUIET_NS)
            .min(self.first_ns.saturating_add(LONGEST_NS))
    }

    fn close(mut self) -> Found {
        self.found.killed.sort_by_key(|killed| killed.stamp_ns);
        self.found
    }
}

// === impl Found ===

impl Found {
    fn fold(&mut self, other: Self) {
        self.stamp_ns = self.stamp_ns.min(other.stamp_ns);
        self.trigger = self.trigger.take().or(other.trigger);
        self.control = self.control.take().or(other.control);
        self.killed.extend(other.killed);
        self.degraded.extend(other.degraded);
        self.degraded.sort();
        self.degraded.dedup();
    }
}
