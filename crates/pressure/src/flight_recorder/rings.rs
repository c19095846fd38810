//! The rings of all cgroups that are sampled, or were a moment ago.

use std::collections::HashMap;
use std::sync::Arc;

use super::ring::{Ring, WINDOW_MS};
use crate::growth::Point;
use crate::sample::{CgroupKey, Sample};
use crate::tree::is_pod;

/// Cgroups that have a ring: as many as a kubelet's largest nodes run, twice.
pub(super) const CONTAINERS: usize = 1_000;

/// One without a sample for so long is gone.
const GONE_MS: u64 = 5_000;

/// Fewer points since the last kill are too few: then the ones before it belong to the next kill, too.
const ANEW: usize = 5;

#[derive(Debug, Default)]
pub(super) struct Rings {
    by_path: HashMap<Arc<str>, Ring>,
    pruned_ms: u64,
    refused: u64,
}

/// The points of one cgroup.
#[derive(Debug)]
pub(super) struct Past {
    /// Oldest first; times are `CLOCK_MONOTONIC`.
    pub(super) points: Vec<Point>,
    pub(super) limit: Option<u64>,
}

// === impl Rings ===

impl Rings {
    pub(super) fn record(&mut self, key: &CgroupKey, sample: &Sample) {
        let at_ms = sample.at_ns / 1_000_000;
        if at_ms.saturating_sub(self.pruned_ms) >= WINDOW_MS {
            // A history may be read after its cgroup's end, for as long as a window is.
            self.prune(at_ms, WINDOW_MS);
        }
        if let Some(ring) = self.by_path.get_mut(key.path()) {
            if !ring.is_of(key.inode()) {
                *ring = Ring::new(key.inode());
            }
            ring.record(sample);
            return;
        }
        // A pod is sampled where no container has a limit: mostly one is about to get one.
        if is_pod(key.path()) {
            return;
        }
        if self.by_path.len() >= CONTAINERS && at_ms.saturating_sub(self.pruned_ms) >= GONE_MS {
            self.prune(at_ms, GONE_MS);
        }
        if self.by_path.len() >= CONTAINERS {
            self.refused += 1;
            return;
        }
        let mut ring = Ring::new(key.inode());
        ring.record(sample);
        self.by_path.insert(key.path().into(), ring);
    }

    /// What led to a kill, which is noted: what is before it does not lead to the next one, unless
    /// that comes at once.
    pub(super) fn since_last_kill(&mut self, path: &str, stamp_ns: u64) -> Option<Past> {
        let stamp_ms = stamp_ns / 1_000_000;
        let ring = self.by_path.get_mut(path)?;
        let mut points = ring.points(stamp_ms);
        let killed_ms = ring.note_kill(stamp_ms);
        let anew = points.partition_point(|point| point.at_ms <= killed_ms);
        if points.len() - anew >= ANEW {
            points.drain(..anew);
        }
        let limit = ring.limit;
        (!points.is_empty()).then_some(Past { points, limit })
    }

    /// What led to this moment, of a cgroup that is still there.
    pub(super) fn now(&self, path: &str, now_ns: u64) -> Option<Past> {
        let ring = self.by_path.get(path)?;
        latest(ring, now_ns / 1_000_000)
    }

    pub(super) fn all(&self, now_ns: u64) -> Vec<(Arc<str>, Past)> {
        let now_ms = now_ns / 1_000_000;
        self.by_path
            .iter()
            .filter_map(|(path, ring)| Some((Arc::clone(path), latest(ring, now_ms)?)))
            .collect()
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    fn prune(&mut self, now_ms: u64, kept_ms: u64) {
        self.by_path
            .retain(|_, ring| now_ms.saturating_sub(ring.newest_ms()) <= kept_ms);
        self.pruned_ms = now_ms;
    }
}

fn latest(ring: &Ring, now_ms: u64) -> Option<Past> {
    (now_ms.saturating_sub(ring.newest_ms()) <= GONE_MS).then(|| Past {
        points: ring.points(now_ms),
        limit: ring.limit,
    })
}
