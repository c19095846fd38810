//! Which cgroups hit their limits, told by a count that only rises: what it was before is known of
//! every cgroup without looking again and again. Pure.

use std::collections::BTreeMap;

use super::Rose;

/// Cgroups whose count is not 0 that are remembered at once.
const CAPACITY: usize = 4096;

/// The kernel counts some lines before it chooses and marks a victim; and two readings within as
/// long are one, so that the kills of a storm all find what the first one saw.
const EARLY_NS: u64 = 100_000_000;
const STORM_NS: u64 = 5_000_000_000;

/// By the inode number of the cgroup's directory. These are 64 bits wide from Linux 5.5 on, are
/// given out in rising order and never again (fs/kernfs/dir.c, `__kernfs_new_node`).
#[derive(Debug, Default)]
pub(super) struct Counts {
    seen: BTreeMap<u64, Seen>,
    /// Of a cgroup that is not in `seen` and has a smaller number, nobody knows the count. All
    /// others that are not there are at 0.
    forgotten: u64,
}

/// Times are `CLOCK_MONOTONIC`, in ns.
#[derive(Clone, Copy, Debug)]
struct Seen {
    first_ns: u64,
    last_ns: u64,
    count: u64,
    /// Its latest rise lies between two readings.
    rose: Option<(u64, u64)>,
}

// === impl Counts ===

impl Counts {
    /// Before anything is told: what stands there already.
    pub(super) fn begin(&mut self, inode: u64, count: u64, now_ns: u64) {
        if count > 0 {
            self.insert(inode, count, None, now_ns);
        }
    }

    /// There are more cgroups than could be looked at: of none is known that it is at 0.
    pub(super) fn begin_cut(&mut self) {
        self.forgotten = u64::MAX;
    }

    /// Whether a cgroup's count, which is `count` now, has risen by the kill at `stamp_ns`.
    pub(super) fn rose(&mut self, inode: u64, count: u64, stamp_ns: u64, now_ns: u64) -> Rose {
        let Some(seen) = self.seen.get_mut(&inode) else {
            if count == 0 {
                return Rose::No;
            }
            let sure = inode >= self.forgotten;
            self.insert(inode, count, sure.then_some((0, now_ns)), now_ns);
            return if sure { Rose::Yes } else { Rose::Perhaps };
        };
        if count > seen.count {
            let from = seen
                .rose
                .filter(|(_, to)| now_ns.saturating_sub(*to) < STORM_NS)
                .map_or(seen.last_ns, |(from, _)| from);
            seen.rose = Some((from, now_ns));
        }
        seen.count = count;
        seen.last_ns = now_ns;
        match seen.rose {
            Some((from, to)) if from < stamp_ns && stamp_ns <= to.saturating_add(EARLY_NS) => {
                Rose::Yes
            }
            _ if stamp_ns <= seen.first_ns.saturating_add(EARLY_NS) => Rose::Perhaps,
            _ => Rose::No,
        }
    }

    fn insert(&mut self, inode: u64, count: u64, rose: Option<(u64, u64)>, now_ns: u64) {
        if self.seen.len() >= CAPACITY
            && let Some((oldest, _)) = self.seen.pop_first()
        {
            self.forgotten = self.forgotten.max(oldest.saturating_add(1));
        }
        let seen = Seen {
            first_ns: now_ns,
            last_ns: now_ns,
            count,
            rose,
        };
        self.seen.insert(inode, seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_fresh_cgroups_first_count_is_a_rise() {
        let mut counts = Counts::default();
        assert_eq!(counts.rose(7, 0, 9 * S, 10 * S), Rose::No);
        assert_eq!(counts.rose(7, 1, 19 * S, 20 * S), Rose::Yes);
        // A kill of the node's finds it where it was.
        assert_eq!(counts.rose(7, 1, 29 * S, 30 * S), Rose::No);
        assert_eq!(counts.rose(7, 4, 39 * S, 40 * S), Rose::Yes);
        assert_eq!(counts.rose(7, 4, 49 * S, 50 * S), Rose::No);
    }

    #[test]
    fn what_stood_there_before_is_none() {
        let mut counts = Counts::default();
        counts.begin(7, 3, 10 * S);
        assert_eq!(counts.rose(7, 3, 19 * S, 20 * S), Rose::No);
        assert_eq!(counts.rose(7, 4, 29 * S, 30 * S), Rose::Yes);
    }

    #[test]
    fn a_kill_from_before_the_beginning_may_be_in_it() {
        let mut counts = Counts::default();
        counts.begin(7, 3, 10 * S);
        assert_eq!(counts.rose(7, 3, 9 * S, 20 * S), Rose::Perhaps);
    }

    #[test]
    fn the_kills_of_a_storm_share_what_the_first_reading_saw() {
        let mut counts = Counts::default();
        let (first, second, third) = (10 * S, 10 * S + 10, 10 * S + 20);
        assert_eq!(counts.rose(7, 2, first, 10 * S + 15), Rose::Yes);
        assert_eq!(counts.rose(7, 3, second, 10 * S + 30), Rose::Yes);
        assert_eq!(counts.rose(7, 3, third, 10 * S + 40), Rose::Yes);
    }

    #[test]
    fn beyond_its_bound_it_knows_what_it_has_forgotten() {
        let mut counts = Counts::default();
        let all = u64::try_from(CAPACITY).unwrap() + 1;
        for inode in 1..=all {
            assert_eq!(counts.rose(inode, 1, 9 * S, 10 * S), Rose::Yes);
        }
        assert_eq!(counts.seen.len(), CAPACITY);
        assert_eq!(counts.rose(1, 1, 19 * S, 20 * S), Rose::Perhaps);
        assert_eq!(counts.rose(all + 1, 1, 19 * S, 20 * S), Rose::Yes);

        let mut cut = Counts::default();
        cut.begin_cut();
        assert_eq!(cut.rose(9, 1, 19 * S, 20 * S), Rose::Perhaps);
        assert_eq!(cut.rose(9, 2, 29 * S, 30 * S), Rose::Yes);
    }
}
