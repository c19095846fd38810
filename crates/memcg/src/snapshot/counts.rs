//! Which cgroups hit their limits, by a count of each that only rises: its value before a kill is known without
//! polling. Pure.

use std::collections::BTreeMap;

/// The most cgroups with a count above 0 that are remembered.
const CAPACITY: usize = 4096;

/// The kernel raises the count just before it marks a victim.
const EARLY_NS: u64 = 100_000_000;

/// Rises within this time are one, so that every kill of a storm finds the rise that the first one saw.
const STORM_NS: u64 = 5_000_000_000;

/// Whether the kernel counted, by the time of a kill, that a cgroup had hit its limit: `oom` of its
/// `memory.events.local`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitHit {
    /// The count rose by the kill.
    Yes,
    /// The count did not rise.
    No,
    /// The count rose at an unknown time.
    Perhaps,
    /// The count could not be read.
    Unread,
}

/// Counts by the inode number of the cgroup's directory. From Linux 5.5 on inode numbers are 64 bits wide, rise, and are
/// not used again (fs/kernfs/dir.c, `__kernfs_new_node`).
#[derive(Debug, Default)]
pub(super) struct Counts {
    counts: BTreeMap<u64, Reading>,
    /// The last count of a cgroup that is not in `counts` is unknown below this number, and 0 from it on.
    known_from: u64,
}

/// Times are `CLOCK_MONOTONIC`, in ns.
#[derive(Clone, Copy, Debug)]
struct Reading {
    first_ns: u64,
    last_ns: u64,
    count: u64,
    /// The two readings around its latest rise.
    rise: Option<(u64, u64)>,
}

// === impl Counts ===

impl Counts {
    /// Adds a count from before the first kill.
    pub(super) fn add_initial(&mut self, inode: u64, count: u64, now_ns: u64) {
        if count > 0 {
            self.insert(inode, count, None, now_ns);
        }
    }

    /// Not all cgroups could be read, so an absent count is not known to be 0.
    pub(super) fn set_incomplete(&mut self) {
        self.known_from = u64::MAX;
    }

    /// Whether a cgroup's count, now `count`, rose by the kill at `stamp_ns`.
    pub(super) fn check_hit(
        &mut self,
        inode: u64,
        count: u64,
        stamp_ns: u64,
        now_ns: u64,
    ) -> LimitHit {
        let Some(last) = self.counts.get_mut(&inode) else {
            if count == 0 {
                return LimitHit::No;
            }
            let sure = inode >= self.known_from;
            self.insert(inode, count, sure.then_some((0, now_ns)), now_ns);
            return if sure {
                LimitHit::Yes
            } else {
                LimitHit::Perhaps
            };
        };
        if count > last.count {
            let from = last
                .rise
                .filter(|(_, to)| now_ns.saturating_sub(*to) < STORM_NS)
                .map_or(last.last_ns, |(from, _)| from);
            last.rise = Some((from, now_ns));
        }
        last.count = count;
        last.last_ns = now_ns;
        match last.rise {
            Some((from, to)) if from < stamp_ns && stamp_ns <= to.saturating_add(EARLY_NS) => {
                LimitHit::Yes
            }
            _ if stamp_ns <= last.first_ns.saturating_add(EARLY_NS) => LimitHit::Perhaps,
            _ => LimitHit::No,
        }
    }

    fn insert(&mut self, inode: u64, count: u64, rise: Option<(u64, u64)>, now_ns: u64) {
        if self.counts.len() >= CAPACITY
            && let Some((oldest, _)) = self.counts.pop_first()
        {
            self.known_from = self.known_from.max(oldest.saturating_add(1));
        }
        let reading = Reading {
            first_ns: now_ns,
            last_ns: now_ns,
            count,
            rise,
        };
        self.counts.insert(inode, reading);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_fresh_cgroups_first_count_is_a_rise() {
        let mut counts = Counts::default();
        assert_eq!(counts.check_hit(7, 0, 9 * S, 10 * S), LimitHit::No);
        assert_eq!(counts.check_hit(7, 1, 19 * S, 20 * S), LimitHit::Yes);
        // A kill at the node's limit does not raise it.
        assert_eq!(counts.check_hit(7, 1, 29 * S, 30 * S), LimitHit::No);
        assert_eq!(counts.check_hit(7, 4, 39 * S, 40 * S), LimitHit::Yes);
        assert_eq!(counts.check_hit(7, 4, 49 * S, 50 * S), LimitHit::No);
    }

    #[test]
    fn a_count_from_before_is_no_rise() {
        let mut counts = Counts::default();
        counts.add_initial(7, 3, 10 * S);
        assert_eq!(counts.check_hit(7, 3, 19 * S, 20 * S), LimitHit::No);
        assert_eq!(counts.check_hit(7, 4, 29 * S, 30 * S), LimitHit::Yes);
    }

    #[test]
    fn a_kill_from_before_the_first_reading_may_be_in_the_count() {
        let mut counts = Counts::default();
        counts.add_initial(7, 3, 10 * S);
        assert_eq!(counts.check_hit(7, 3, 9 * S, 20 * S), LimitHit::Perhaps);
    }

    #[test]
    fn the_kills_of_a_storm_share_the_first_rise() {
        let mut counts = Counts::default();
        let (first, second, third) = (10 * S, 10 * S + 10, 10 * S + 20);
        assert_eq!(counts.check_hit(7, 2, first, 10 * S + 15), LimitHit::Yes);
        assert_eq!(counts.check_hit(7, 3, second, 10 * S + 30), LimitHit::Yes);
        assert_eq!(counts.check_hit(7, 3, third, 10 * S + 40), LimitHit::Yes);
    }

    #[test]
    fn a_forgotten_count_is_not_taken_for_zero() {
        let mut counts = Counts::default();
        let all = u64::try_from(CAPACITY).unwrap() + 1;
        for inode in 1..=all {
            assert_eq!(counts.check_hit(inode, 1, 9 * S, 10 * S), LimitHit::Yes);
        }
        assert_eq!(counts.counts.len(), CAPACITY);
        assert_eq!(counts.check_hit(1, 1, 19 * S, 20 * S), LimitHit::Perhaps);
        assert_eq!(counts.check_hit(all + 1, 1, 19 * S, 20 * S), LimitHit::Yes);

        let mut cut = Counts::default();
        cut.set_incomplete();
        assert_eq!(cut.check_hit(9, 1, 19 * S, 20 * S), LimitHit::Perhaps);
        assert_eq!(cut.check_hit(9, 2, 29 * S, 30 * S), LimitHit::Yes);
    }
}
