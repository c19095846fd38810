//! The containers that are sampled, with their open files.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use memcg::Version;
use service::clock;
use service::error_chain::chain;

use super::cgroup::{Buffer, Cgroup, ReadError, read_own_limit};
use super::notifications::{Notifications, Registrar};
use super::pace::Pace;
use super::sample::{CgroupKey, Sample, Sweep};
use super::tree::Source;
use crate::counts::{Counts, add, set};
use crate::stuck::NoVictimCause;

/// Containers that are watched at most: four times what a kubelet takes pods by default, and more.
const MOST: usize = 1000;

/// Samples between sweeps, in one go.
const BETWEEN: usize = 16;

pub(super) struct Table {
    entries: Vec<Entry>,
    /// Paths of those with a limit for which there is no room.
    without_room: Vec<String>,
    buffer: Buffer,
    /// What the last sweep has read.
    samples: Vec<(CgroupKey, Sample)>,
    /// Which of these are out of memory while no process is killed.
    stuck: Vec<(usize, NoVictimCause)>,
    counts: Arc<Counts>,
    registrar: Registrar,
}

struct Entry {
    cgroup: Cgroup,
    pace: Pace,
    /// On cgroup v1.
    notifications: Notifications,
}

// === impl Table ===

impl Table {
    pub(super) fn new(counts: Arc<Counts>) -> Self {
        Self {
            entries: Vec::new(),
            without_room: Vec::new(),
            buffer: Buffer::default(),
            samples: Vec::new(),
            stuck: Vec::new(),
            counts,
            registrar: Registrar::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A cgroup was added, or its limit was written. A container with a limit may end the sampling of its
    /// pod.
    pub(super) fn update_limit(&mut self, source: &Source, path: &str) {
        self.update_one(source, path);
        self.update_pod(source, path);
    }

    /// The pod whose cgroup is next above.
    fn update_pod(&mut self, source: &Source, path: &str) {
        if let Some((above, _)) = path.rsplit_once('/')
            && source.is_pod(above)
        {
            self.update_one(source, above);
        }
    }

    fn update_one(&mut self, source: &Source, path: &str) {
        let dir = source.dir(path);
        let known = self.find(path);
        let limited = self.is_limited(source, path, &dir);
        match (known, limited) {
            (Some(at), true) => {
                if let Some(entry) = self.entries.get_mut(at) {
                    entry.cgroup.forget_limit();
                    entry.pace.request_sample();
                }
            }
            (Some(_), false) => self.remove_one(source, path),
            (None, true) if self.entries.len() >= MOST => {
                if !self.without_room.iter().any(|other| other == path) {
                    self.without_room.push(path.to_owned());
                }
            }
            (None, true) => match Cgroup::open(&dir, path, source.version) {
                Ok(cgroup) => {
                    let mut pace = Pace::default();
                    // It is sampled without waiting for the next sweep.
                    pace.request_sample();
                    self.entries.push(Entry {
                        cgroup,
                        pace,
                        notifications: Notifications::default(),
                    });
                }
                Err(error) => self.log_error(&error),
            },
            (None, false) => self.without_room.retain(|other| other != path),
        }
        self.update_counts();
    }

    /// Samples a cgroup soon: its `memory.events` changed.
    pub(super) fn request_sample(&mut self, path: &str) {
        let at = self.find(path);
        if let Some(entry) = at.and_then(|at| self.entries.get_mut(at)) {
            entry.pace.request_sample();
        }
    }

    /// Handles a threshold notification of the cgroup of that inode.
    pub(super) fn handle_notification(&mut self, inode: u64) {
        let mut entries = self.entries.iter_mut();
        if let Some(entry) = entries.find(|entry| entry.cgroup.key().inode() == inode) {
            entry.pace.request_sample();
            entry.notifications.reset();
        }
    }

    /// Removes a cgroup that is gone: there may be room for another.
    pub(super) fn remove(&mut self, source: &Source, path: &str) {
        self.remove_one(source, path);
        self.update_pod(source, path);
    }

    fn remove_one(&mut self, source: &Source, path: &str) {
        if let Some(at) = self.find(path) {
            self.entries.swap_remove(at);
        }
        self.without_room.retain(|other| other != path);
        // One may be gone, or without a limit, though no event of that has come yet.
        while self.entries.len() < MOST
            && let Some(next) = self.without_room.pop()
        {
            self.update_one(source, &next);
        }
        self.update_counts();
    }

    /// Keeps the cgroups that a walk has found.
    pub(super) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        let same = |entry: &Entry| {
            let now = entry.cgroup.dir().metadata();
            let inode = now.map(|now| std::os::unix::fs::MetadataExt::ino(&now));
            inode.is_ok_and(|inode| inode == entry.cgroup.key().inode())
        };
        self.entries
            .retain(|entry| is_there(entry.cgroup.key().path()) && same(entry));
        self.without_room.clear();
        self.update_counts();
    }

    /// Samples all. Those that are gone are removed.
    pub(super) fn sweep(&mut self, epoll: &impl AsFd) -> Sweep<'_> {
        self.sample(epoll, |_| true);
        self.result(true)
    }

    fn result(&self, whole: bool) -> Sweep<'_> {
        Sweep {
            samples: &self.samples,
            stuck: &self.stuck,
            whole,
        }
    }

    /// Samples those that are due by now, the longest due first.
    pub(super) fn sample_due(&mut self, epoll: &impl AsFd, now_ns: u64) -> Sweep<'_> {
        let due = |entry: &Entry| entry.pace.due_ns().filter(|due| *due <= now_ns);
        let mut dues: Vec<u64> = self.entries.iter().filter_map(due).collect();
        dues.sort_unstable();
        let postponed = dues.len().saturating_sub(BETWEEN);
        add(&self.counts.postponed, postponed as u64);
        // More that are due at the same moment wait for the next time.
        let until_ns = dues.get(BETWEEN.saturating_sub(1)).copied();
        let mut left = BETWEEN;
        self.sample(epoll, |entry| {
            let wanted = due(entry).is_some_and(|due| until_ns.is_none_or(|until| due <= until));
            let sampled = wanted && left > 0;
            left = left.saturating_sub(usize::from(sampled));
            sampled
        });
        self.result(false)
    }

    /// When the next one is due.
    pub(super) fn due_ns(&self) -> Option<u64> {
        self.entries
            .iter()
            .filter_map(|entry| entry.pace.due_ns())
            .min()
    }

    fn sample(&mut self, epoll: &impl AsFd, mut wanted: impl FnMut(&Entry) -> bool) {
        self.samples.clear();
        self.stuck.clear();
        let stuck = &mut self.stuck;
        let (samples, buffer, counts) = (&mut self.samples, &mut self.buffer, &self.counts);
        let registrar = &mut self.registrar;
        self.entries.retain_mut(|entry| {
            if !wanted(entry) {
                return true;
            }
            match entry.cgroup.sample(buffer, clock::monotonic_ns()) {
                Ok(sample) => {
                    entry.pace.record_sample(&sample);
                    if entry.cgroup.version() == Version::V1 {
                        entry
                            .notifications
                            .request(&entry.cgroup, &sample, registrar, epoll);
                    }
                    let cause = entry.cgroup.detect_stuck(&sample, buffer);
                    stuck.extend(cause.map(|cause| (samples.len(), cause)));
                    samples.push((entry.cgroup.key().clone(), sample));
                    true
                }
                Err(error) if error.is_gone() => false,
                Err(error) => {
                    add(&counts.failed, 1);
                    tracing::debug!(error = %chain(&error), "a container was not sampled");
                    true
                }
            }
        });
        set(&self.counts.watched, self.entries.len());
    }

    /// Only a limit of its own counts: that of all pods together is no container's.
    fn is_limited(&mut self, source: &Source, path: &str, dir: &Path) -> bool {
        match read_own_limit(dir, source.version, &mut self.buffer) {
            Ok(None) => false,
            Ok(Some(_)) => !(source.is_pod(path) && self.is_sum_of_below(source, dir)),
            Err(error) => {
                self.log_error(&error);
                false
            }
        }
    }

    /// Whether a pod's limit is the sum of its containers': it is theirs then that they come near to. With
    /// a limit of its own (`spec.resources`) the kubelet gives it to each container that has none, too.
    fn is_sum_of_below(&mut self, source: &Source, pod: &Path) -> bool {
        let mut limit = |dir: &Path| {
            let bound = read_own_limit(dir, source.version, &mut self.buffer);
            Some(bound.ok()??.bytes)
        };
        let below = std::fs::read_dir(pod).into_iter().flatten().flatten();
        let dirs = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let limits: Vec<u64> = dirs.filter_map(|entry| limit(&entry.path())).collect();
        let sum = limits
            .iter()
            .fold(0, |sum: u64, more| sum.saturating_add(*more));
        // Each is rounded to pages by itself.
        let slack = (limits.len() as u64).saturating_mul(rustix::param::page_size() as u64);
        limit(pod).is_some_and(|own| own.abs_diff(sum) <= slack)
    }

    fn find(&self, path: &str) -> Option<usize> {
        let mut entries = self.entries.iter();
        entries.position(|entry| entry.cgroup.key().path() == path)
    }

    fn log_error(&self, error: &ReadError) {
        if !error.is_gone() {
            add(&self.counts.failed, 1);
            tracing::warn!(error = %chain(error), "a container's memory is not sampled");
        }
    }

    fn update_counts(&self) {
        set(&self.counts.watched, self.entries.len());
        set(&self.counts.no_room, self.without_room.len());
    }
}

#[cfg(test)]
mod tests;
