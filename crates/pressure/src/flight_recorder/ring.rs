//! The last minute of one cgroup.

use std::collections::VecDeque;

use crate::growth::Point;
use crate::history::SAMPLES;
use crate::sample::Sample;

/// What is older is dropped.
pub(super) const WINDOW_MS: u64 = 60_000;

/// Samples of a whole window come a second apart, with a little unrest.
const NEARLY_MS: u64 = WINDOW_MS - 1_500;

/// What comes sooner after the last one is a prompt sample between two sweeps.
const REGULAR_MS: u64 = 900;

/// At most [`SAMPLES`] points, so that [`super::CONTAINERS`] of them are a MiB.
#[derive(Clone, Debug)]
pub(super) struct Ring {
    inode: u64,
    pub(super) limit: Option<u64>,
    /// The last kill that a history was made of.
    killed_ms: u64,
    /// Oldest first.
    points: VecDeque<Point>,
}

// === impl Ring ===

impl Ring {
    pub(super) fn new(inode: u64) -> Self {
        Self {
            inode,
            limit: None,
            killed_ms: 0,
            points: VecDeque::with_capacity(SAMPLES),
        }
    }

    /// The working set, which is what the kernel cannot get back for nothing: a full page cache is
    /// no sign. One that is not newer than the last is no sample.
    pub(super) fn record(&mut self, sample: &Sample) {
        let at_ms = sample.at_ns / 1_000_000;
        if self.points.back().is_some_and(|last| at_ms <= last.at_ms) {
            return;
        }
        self.limit = sample.limit;
        let from_ms = at_ms.saturating_sub(WINDOW_MS);
        let old = self.points.partition_point(|point| point.at_ms < from_ms);
        self.points.drain(..old);
        if self.points.len() == SAMPLES {
            let dropped = self.least_missed(at_ms);
            self.points.remove(dropped);
        }
        self.points.push_back(Point {
            at_ms,
            bytes: sample.working_set,
        });
    }

    /// Whether it is of that very cgroup, not of one before it with the same path.
    pub(super) fn is_of(&self, inode: u64) -> bool {
        self.inode == inode
    }

    pub(super) fn newest_ms(&self) -> u64 {
        self.points.back().map_or(0, |last| last.at_ms)
    }

    /// The points in the window before `until_ms`, oldest first.
    pub(super) fn points(&self, until_ms: u64) -> Vec<Point> {
        let window = until_ms.saturating_sub(WINDOW_MS)..=until_ms;
        let points = self.points.iter().copied();
        points
            .filter(|point| window.contains(&point.at_ms))
            .collect()
    }

    /// Notes a kill; gives the time of the last one before.
    pub(super) fn note_kill(&mut self, at_ms: u64) -> u64 {
        let before = self.killed_ms;
        self.killed_ms = before.max(at_ms);
        before
    }

    /// Of a full ring: the oldest, or where it still belongs to the minute, one whose neighbours stand
    /// closest for its age. What is long ago loses its detail first.
    fn least_missed(&mut self, now_ms: u64) -> usize {
        let age_ms = |point: Option<&Point>| point.map(|it| now_ms.saturating_sub(it.at_ms));
        let regular = age_ms(self.points.back()) >= Some(REGULAR_MS);
        if regular && age_ms(self.points.front()) >= Some(NEARLY_MS) {
            return 0;
        }
        let points = self.points.make_contiguous();
        let gaps = points.windows(3).enumerate().filter_map(|(n, three)| {
            let [before, it, after] = three else {
                return None;
            };
            let age = now_ms.saturating_sub(it.at_ms) + 2_000;
            let gap = after.at_ms - before.at_ms;
            Some((gap.saturating_mul(1_000_000) / age, n + 1))
        });
        gaps.min().map_or(0, |(_, n)| n)
    }
}
