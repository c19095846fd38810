//! `oom` of `memory.events.local`: the kernel counts there at the cgroup whose limit was hit, and
//! at no other, before it chooses a victim (mm/memcontrol.c, `mem_cgroup_oom`; from Linux 5.2 on).

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rustix::fs::fstat;

use super::Rose;
use super::counts::Counts;
use super::files::{Dir, FILE_LEN};
use super::hierarchy::{Hierarchy, Version};

const EVENTS: &str = "memory.events.local";

/// Cgroups that are looked at in the beginning.
const MOST: usize = 16384;

/// What is known of the counts.
#[derive(Debug)]
pub(super) struct Events(Mutex<Counts>);

// === impl Events ===

impl Events {
    /// Reads the counts of all cgroups that there are; `None` on cgroup v1.
    pub(super) fn begin(hierarchy: &Hierarchy, now_ns: u64) -> Option<Self> {
        if hierarchy.version() != Version::V2 {
            return None;
        }
        let mut counts = Counts::default();
        let mut left: Vec<PathBuf> = vec![hierarchy.path().to_owned()];
        let mut looked: usize = 0;
        while let Some(dir) = left.pop() {
            looked = looked.saturating_add(1);
            if looked > MOST {
                counts.begin_cut();
                break;
            }
            // One that is gone meanwhile has no kills to come.
            let text = fs::read_to_string(dir.join(EVENTS)).unwrap_or_default();
            if let (Some(count), Ok(metadata)) = (oom(&text), fs::metadata(&dir)) {
                counts.begin(metadata.ino(), count, now_ns);
            }
            let below = fs::read_dir(&dir).into_iter().flatten().flatten();
            let dirs = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            left.extend(dirs.map(|entry| entry.path()));
        }
        Some(Self(Mutex::new(counts)))
    }

    /// For the cgroup and each of its ancestors but the root, leaf first: whether its limit was hit.
    pub(super) fn rose(
        &self,
        hierarchy: &Hierarchy,
        path: &str,
        stamp_ns: u64,
        now_ns: u64,
        deadline: Instant,
    ) -> Vec<Rose> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = [0; FILE_LEN];
        let mut path = path.trim_end_matches('/');
        let mut rose = Vec::new();
        while !path.is_empty() {
            let read = hierarchy.cgroup(path).ok().and_then(|fd| {
                let inode = fstat(&fd).ok()?.st_ino;
                let mut dir = Dir::new(fd, deadline, &mut buffer);
                Some((inode, oom(dir.read(EVENTS).ok()?)?))
            });
            rose.push(read.map_or(Rose::Unread, |(inode, count)| {
                counts.rose(inode, count, stamp_ns, now_ns)
            }));
            path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
        rose
    }
}

fn oom(text: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix("oom "))?
        .parse()
        .ok()
}
