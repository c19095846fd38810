//! The containers that are watched, and how each is read.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use memcg::Version;
use service::clock;
use service::error_chain::chain;

use super::marks::{Marks, Setter};
use super::pace::Pace;
use super::read::{Buffer, Cgroup, ReadError, own_limit};
use super::tree::Source;
use super::usage::{Key, Pass, Usage};
use crate::counts::{Counts, add, set};
use crate::stuck::NoVictimCause;

/// Containers that are watched at most: four times what a kubelet takes pods by default, and more.
const MOST: usize = 1000;

/// Looks between passes, in one go.
const BETWEEN: usize = 16;

/// All of them.
pub(super) struct Table {
    entries: Vec<Entry>,
    /// With a limit, and without room; paths, to be known when they go.
    left_out: Vec<String>,
    buffer: Buffer,
    /// What the last pass has read.
    usages: Vec<(Key, Usage)>,
    /// Which of these are out of memory while nobody is killed.
    stuck: Vec<(usize, NoVictimCause)>,
    counts: Arc<Counts>,
    setter: Setter,
}

struct Entry {
    cgroup: Cgroup,
    pace: Pace,
    /// On cgroup v1.
    marks: Marks,
}

// === impl Table ===

impl Table {
    pub(super) fn new(counts: Arc<Counts>) -> Self {
        Self {
            entries: Vec::new(),
            left_out: Vec::new(),
            buffer: Buffer::default(),
            usages: Vec::new(),
            stuck: Vec::new(),
            counts,
            setter: Setter::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A cgroup is there, or its limit was written. A container with one has its pod looked at no more.
    pub(super) fn limit(&mut self, source: &Source, path: &str) {
        self.limit_of(source, path);
        self.limit_of_pod(source, path);
    }

    /// Of the pod whose cgroup is next above.
    fn limit_of_pod(&mut self, source: &Source, path: &str) {
        if let Some((above, _)) = path.rsplit_once('/')
            && source.is_pod(above)
        {
            self.limit_of(source, above);
        }
    }

    fn limit_of(&mut self, source: &Source, path: &str) {
        let dir = source.dir(path);
        let known = self.find(path);
        let limited = self.is_limited(source, path, &dir);
        match (known, limited) {
            (Some(at), true) => {
                if let Some(entry) = self.entries.get_mut(at) {
                    entry.cgroup.forget_limit();
                    entry.pace.tell();
                }
            }
            (Some(_), false) => self.remove(source, path),
            (None, true) if self.entries.len() >= MOST => {
                if !self.left_out.iter().any(|left| left == path) {
                    self.left_out.push(path.to_owned());
                }
            }
            (None, true) => match Cgroup::open(&dir, path, source.version()) {
                Ok(cgroup) => {
                    let mut pace = Pace::default();
                    // It is looked at without waiting for the next pass.
                    pace.tell();
                    self.entries.push(Entry {
                        cgroup,
                        pace,
                        marks: Marks::default(),
                    });
                }
                Err(error) => self.say(&error),
            },
            (None, false) => self.left_out.retain(|left| left != path),
        }
        self.show();
    }

    /// A cgroup's `memory.events` changed.
    pub(super) fn hit(&mut self, path: &str) {
        let at = self.find(path);
        if let Some(entry) = at.and_then(|at| self.entries.get_mut(at)) {
            entry.pace.tell();
        }
    }

    /// A mark was crossed in the cgroup of that inode, or they are set now, or it is gone.
    pub(super) fn crossed(&mut self, inode: u64) {
        let mut entries = self.entries.iter_mut();
        if let Some(entry) = entries.find(|entry| entry.cgroup.key().inode() == inode) {
            entry.pace.tell();
            entry.marks.reset();
        }
    }

    /// It is gone, or has no limit any more: there may be room for another.
    pub(super) fn gone(&mut self, source: &Source, path: &str) {
        self.remove(source, path);
        self.limit_of_pod(source, path);
    }

    fn remove(&mut self, source: &Source, path: &str) {
        if let Some(at) = self.find(path) {
            self.entries.swap_remove(at);
        }
        self.left_out.retain(|left| left != path);
        // One may be gone, or without a limit, before that was told of it.
        while self.entries.len() < MOST
            && let Some(next) = self.left_out.pop()
        {
            self.limit_of(source, &next);
        }
        self.show();
    }

    /// Keeps those that are among `noticed`: all that there are.
    pub(super) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        let same = |entry: &Entry| {
            let now = entry.cgroup.dir().metadata();
            let inode = now.map(|now| std::os::unix::fs::MetadataExt::ino(&now));
            inode.is_ok_and(|inode| inode == entry.cgroup.key().inode())
        };
        self.entries
            .retain(|entry| is_there(entry.cgroup.key().path()) && same(entry));
        self.left_out.clear();
        self.show();
    }

    /// Looks at all. Those that are gone are forgotten.
    pub(super) fn pass(&mut self, epoll: &impl AsFd) -> Pass<'_> {
        self.look(epoll, |_| true);
        self.seen(true)
    }

    fn seen(&self, whole: bool) -> Pass<'_> {
        Pass {
            usages: &self.usages,
            stuck: &self.stuck,
            whole,
        }
    }

    /// Looks at those that are worth it by now, the longest due first.
    pub(super) fn between(&mut self, epoll: &impl AsFd, now_ns: u64) -> Pass<'_> {
        let due = |entry: &Entry| entry.pace.next_ns().filter(|due| *due <= now_ns);
        let mut dues: Vec<u64> = self.entries.iter().filter_map(due).collect();
        dues.sort_unstable();
        let postponed = dues.len().saturating_sub(BETWEEN);
        add(&self.counts.postponed, postponed as u64);
        // More that are due at the same moment wait for the next time.
        let until_ns = dues.get(BETWEEN.saturating_sub(1)).copied();
        let mut left = BETWEEN;
        self.look(epoll, |entry| {
            let wanted = due(entry).is_some_and(|due| until_ns.is_none_or(|until| due <= until));
            let looked = wanted && left > 0;
            left = left.saturating_sub(usize::from(looked));
            looked
        });
        self.seen(false)
    }

    /// When the next is worth a look.
    pub(super) fn next_ns(&self) -> Option<u64> {
        self.entries
            .iter()
            .filter_map(|entry| entry.pace.next_ns())
            .min()
    }

    fn look(&mut self, epoll: &impl AsFd, mut wanted: impl FnMut(&Entry) -> bool) {
        self.usages.clear();
        self.stuck.clear();
        let stuck = &mut self.stuck;
        let (usages, buffer, counts) = (&mut self.usages, &mut self.buffer, &self.counts);
        let setter = &mut self.setter;
        self.entries.retain_mut(|entry| {
            if !wanted(entry) {
                return true;
            }
            match entry.cgroup.read(buffer, clock::monotonic_ns()) {
                Ok(usage) => {
                    entry.pace.look(&usage);
                    if entry.cgroup.version() == Version::V1 {
                        entry.marks.follow(&entry.cgroup, &usage, setter, epoll);
                    }
                    let cause = entry.cgroup.stuck(&usage, buffer);
                    stuck.extend(cause.map(|cause| (usages.len(), cause)));
                    usages.push((entry.cgroup.key().clone(), usage));
                    true
                }
                Err(error) if error.is_gone() => false,
                Err(error) => {
                    add(&counts.failed, 1);
                    tracing::debug!(error = %chain(&error), "a container was not looked at");
                    true
                }
            }
        });
        set(&self.counts.watched, self.entries.len());
    }

    fn is_limited(&mut self, source: &Source, path: &str, dir: &std::path::Path) -> bool {
        let limit = if source.wants_own_limit() {
            own_limit(dir, source.version(), &mut self.buffer).map(|limit| limit.is_some())
        } else {
            Cgroup::open(dir, path, source.version())
                .and_then(|mut cgroup| Ok(cgroup.read(&mut self.buffer, 0)?.limit.is_some()))
        };
        match limit {
            Ok(limited) => limited && !(source.is_pod(path) && self.is_sum_of_below(source, dir)),
            Err(error) => {
                self.say(&error);
                false
            }
        }
    }

    /// Whether a pod's limit is the sum of its containers': it is theirs then that they come near to. With
    /// a limit of its own (`spec.resources`) the kubelet gives it to each container that has none, too.
    fn is_sum_of_below(&mut self, source: &Source, pod: &Path) -> bool {
        let mut limit = |dir: &Path| {
            let bound = own_limit(dir, source.version(), &mut self.buffer);
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

    fn say(&self, error: &ReadError) {
        if !error.is_gone() {
            add(&self.counts.failed, 1);
            tracing::warn!(error = %chain(error), "a container's memory is not watched");
        }
    }

    fn show(&self) {
        set(&self.counts.watched, self.entries.len());
        set(&self.counts.no_room, self.left_out.len());
    }
}

#[cfg(test)]
mod tests;
