//! The rings of all cgroups that are watched, or were a moment ago.

use std::collections::HashMap;
use std::sync::Arc;

use super::ring::{Ring, WINDOW_MS};
use crate::growth::Sample;
use crate::tree::is_pod;
use crate::usage::{Key, Usage};

/// Cgroups that have a ring: as many as a kubelet's largest nodes run, twice.
pub(super) const CONTAINERS: usize = 1_000;

/// One without a sample for so long is gone.
const GONE_MS: u64 = 5_000;

/// As few samples of the time since the last kill are too few: then it is the same story.
const ANEW: usize = 5;

#[derive(Debug, Default)]
pub(super) struct Rings {
    by_path: HashMap<Arc<str>, Ring>,
    swept_ms: u64,
    refused: u64,
}

/// What was seen of one cgroup.
#[derive(Debug)]
pub(super) struct Past {
    /// Oldest first; times are `CLOCK_MONOTONIC`.
    pub(super) samples: Vec<Sample>,
    pub(super) limit: Option<u64>,
}

// === impl Rings ===

impl Rings {
    pub(super) fn take(&mut self, key: &Key, usage: &Usage) {
        let at_ms = usage.at_ns / 1_000_000;
        if at_ms.saturating_sub(self.swept_ms) >= WINDOW_MS {
            // A cgroup's story may be asked for after its end, but not for longer than it lasts.
            self.sweep(at_ms, WINDOW_MS);
        }
        if let Some(ring) = self.by_path.get_mut(key.path()) {
            if !ring.is_of(key.inode()) {
                *ring = Ring::new(key.inode());
            }
            ring.take(usage);
            return;
        }
        // One that is watched for want of a container with a limit: mostly it is about to get one.
        if is_pod(key.path()) {
            return;
        }
        if self.by_path.len() >= CONTAINERS && at_ms.saturating_sub(self.swept_ms) >= GONE_MS {
            self.sweep(at_ms, GONE_MS);
        }
        if self.by_path.len() >= CONTAINERS {
            self.refused += 1;
            return;
        }
        let mut ring = Ring::new(key.inode());
        ring.take(usage);
        self.by_path.insert(key.path().into(), ring);
    }

    /// What led to a kill, which is noted: what is before it does not lead to the next one, unless
    /// that comes at once.
    pub(super) fn before(&mut self, path: &str, stamp_ns: u64) -> Option<Past> {
        let stamp_ms = stamp_ns / 1_000_000;
        let ring = self.by_path.get_mut(path)?;
        let mut samples = ring.samples(stamp_ms);
        let killed_ms = ring.killed(stamp_ms);
        let anew = samples.partition_point(|sample| sample.at_ms <= killed_ms);
        if samples.len() - anew >= ANEW {
            samples.drain(..anew);
        }
        let limit = ring.limit();
        (!samples.is_empty()).then_some(Past { samples, limit })
    }

    /// What led to this moment, of a cgroup that is still there.
    pub(super) fn now(&self, path: &str, now_ns: u64) -> Option<Past> {
        let ring = self.by_path.get(path)?;
        of(ring, now_ns / 1_000_000)
    }

    pub(super) fn all(&self, now_ns: u64) -> Vec<(Arc<str>, Past)> {
        let now_ms = now_ns / 1_000_000;
        self.by_path
            .iter()
            .filter_map(|(path, ring)| Some((Arc::clone(path), of(ring, now_ms)?)))
            .collect()
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    fn sweep(&mut self, now_ms: u64, kept_ms: u64) {
        self.by_path
            .retain(|_, ring| now_ms.saturating_sub(ring.newest_ms()) <= kept_ms);
        self.swept_ms = now_ms;
    }
}

fn of(ring: &Ring, now_ms: u64) -> Option<Past> {
    (now_ms.saturating_sub(ring.newest_ms()) <= GONE_MS).then(|| Past {
        samples: ring.samples(now_ms),
        limit: ring.limit(),
    })
}
