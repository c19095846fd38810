//! The last minute of one cgroup.

use crate::growth::Point;
use crate::history::SAMPLES;
use crate::sample::Sample;

/// What is older is dropped.
pub(super) const WINDOW_MS: u64 = 60_000;

/// Samples of a whole window come a second apart, with a little unrest.
const NEARLY_MS: u64 = WINDOW_MS - 1_500;

/// What comes sooner after the last one is a prompt sample between two sweeps.
const REGULAR_MS: u64 = 900;

/// Fixed in size, so that [`super::CONTAINERS`] of them are half a MiB.
#[derive(Clone, Debug)]
pub(super) struct Ring {
    inode: u64,
    /// `u64::MAX`: none.
    limit: u64,
    newest_ms: u64,
    /// The last kill that a history was made of.
    killed_ms: u64,
    len: usize,
    /// Oldest first; the rest is unused.
    slots: [Slot; SAMPLES],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// `CLOCK_MONOTONIC` in ms, without the upper half: it comes around after 49 days.
    at_ms: u32,
    /// Enough for 4 TiB.
    kib: u32,
}

const _: () = assert!(size_of::<Ring>() == 520, "as docs/pressure.md has it");

// === impl Ring ===

impl Ring {
    pub(super) fn new(inode: u64) -> Self {
        Self {
            inode,
            limit: u64::MAX,
            newest_ms: 0,
            killed_ms: 0,
            len: 0,
            slots: [Slot::default(); SAMPLES],
        }
    }

    /// The working set, which is what the kernel cannot get back for nothing: a full page cache is
    /// no sign. One that is not newer than the last is no sample.
    pub(super) fn record(&mut self, sample: &Sample) {
        let at_ms = sample.at_ns / 1_000_000;
        if self.len > 0 && at_ms <= self.newest_ms {
            return;
        }
        self.newest_ms = at_ms;
        self.limit = sample.limit.unwrap_or(u64::MAX);
        let old = self.oldest_since(at_ms.saturating_sub(WINDOW_MS));
        self.forget(0, old);
        if self.len == SAMPLES {
            let dropped = self.least_missed(at_ms);
            self.forget(dropped, 1);
        }
        let slot = Slot {
            at_ms: lower(at_ms),
            kib: u32::try_from(sample.working_set >> 10).unwrap_or(u32::MAX),
        };
        if let Some(free) = self.slots.get_mut(self.len) {
            *free = slot;
            self.len += 1;
        }
    }

    /// Whether it is of that very cgroup, not of one before it with the same path.
    pub(super) fn is_of(&self, inode: u64) -> bool {
        self.inode == inode
    }

    pub(super) fn newest_ms(&self) -> u64 {
        self.newest_ms
    }

    pub(super) fn limit(&self) -> Option<u64> {
        (self.limit != u64::MAX).then_some(self.limit)
    }

    /// The points in the window before `until_ms`, oldest first.
    pub(super) fn points(&self, until_ms: u64) -> Vec<Point> {
        let from_ms = until_ms.saturating_sub(WINDOW_MS);
        let points = self.slots_with_time().map(|(at_ms, slot)| Point {
            at_ms,
            bytes: u64::from(slot.kib) << 10,
        });
        points
            .filter(|point| (from_ms..=until_ms).contains(&point.at_ms))
            .collect()
    }

    /// Notes a kill; gives the time of the last one before.
    pub(super) fn note_kill(&mut self, at_ms: u64) -> u64 {
        let before = self.killed_ms;
        self.killed_ms = before.max(at_ms);
        before
    }

    fn slots_with_time(&self) -> impl Iterator<Item = (u64, Slot)> {
        let newest = lower(self.newest_ms);
        self.slots.iter().take(self.len).map(move |slot| {
            let age_ms = newest.wrapping_sub(slot.at_ms);
            (self.newest_ms.saturating_sub(u64::from(age_ms)), *slot)
        })
    }

    fn oldest_since(&self, from_ms: u64) -> usize {
        // Ages are counted from the newest, which is not in a slot yet.
        let newest = lower(self.newest_ms);
        let age = self.newest_ms.saturating_sub(from_ms);
        let is_old = |slot: &Slot| u64::from(newest.wrapping_sub(slot.at_ms)) > age;
        let used = self.slots.get(..self.len).unwrap_or_default();
        used.partition_point(is_old)
    }

    /// Of a full ring: the oldest, or where it still belongs to the minute, one whose neighbours stand
    /// closest for its age. What is long ago loses its detail first.
    fn least_missed(&self, now_ms: u64) -> usize {
        let at: Vec<u64> = self.slots_with_time().map(|(at_ms, _)| at_ms).collect();
        let oldest = at.first().copied().unwrap_or_default();
        let newest = at.last().copied().unwrap_or_default();
        let regular = now_ms.saturating_sub(newest) >= REGULAR_MS;
        if regular && now_ms.saturating_sub(oldest) >= NEARLY_MS {
            return 0;
        }
        let gaps = at.windows(3).enumerate().filter_map(|(n, three)| {
            let [before, it, after] = three else {
                return None;
            };
            let age = now_ms.saturating_sub(*it) + 2_000;
            Some(((after - before).saturating_mul(1_000_000) / age, n + 1))
        });
        gaps.min().map_or(0, |(_, n)| n)
    }

    fn forget(&mut self, from: usize, count: usize) {
        if count > 0 {
            self.slots.copy_within(from + count.., from);
            self.len -= count;
        }
    }
}

fn lower(ms: u64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a clock that comes around, as documented"
    )]
    let lower = ms as u32;
    lower
}
