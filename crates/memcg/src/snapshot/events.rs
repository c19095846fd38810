//! `oom` of `memory.events.local`: before it chooses a victim the kernel raises it at the cgroup whose limit was hit,
//! and at no other (mm/memcontrol.c, `mem_cgroup_oom`; from Linux 5.2 on).

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rustix::fs::fstat;

use super::counts::{Counts, LimitHit};
use super::files::{Dir, FILE_LEN};
use super::hierarchy::{Hierarchy, Version};
use crate::parse::parse_keyed;

const EVENTS: &str = "memory.events.local";

/// The most cgroups whose counts are read at the start.
const MOST: usize = 16384;

#[derive(Debug)]
pub(super) struct LimitEvents(Mutex<Counts>);

// === impl LimitEvents ===

impl LimitEvents {
    /// Reads the counts of all cgroups; `None` on cgroup v1.
    pub(super) fn read_all(hierarchy: &Hierarchy, now_ns: u64) -> Option<Self> {
        if hierarchy.version() != Version::V2 {
            return None;
        }
        let mut counts = Counts::default();
        let mut dirs: Vec<PathBuf> = vec![hierarchy.path().to_owned()];
        let mut count: usize = 0;
        while let Some(dir) = dirs.pop() {
            count = count.saturating_add(1);
            if count > MOST {
                counts.set_incomplete();
                break;
            }
            // A cgroup that is removed meanwhile has no more kills.
            let text = fs::read_to_string(dir.join(EVENTS)).unwrap_or_default();
            if let (Some(count), Ok(metadata)) = (parse_keyed(&text, "oom"), fs::metadata(&dir)) {
                counts.add_initial(metadata.ino(), count, now_ns);
            }
            let below = fs::read_dir(&dir).into_iter().flatten().flatten();
            let below = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            dirs.extend(below.map(|entry| entry.path()));
        }
        Some(Self(Mutex::new(counts)))
    }

    /// Whether the limit was hit of the cgroup and each of its ancestors except the root, leaf first.
    pub(super) fn read_hits(
        &self,
        hierarchy: &Hierarchy,
        path: &str,
        stamp_ns: u64,
        now_ns: u64,
        deadline: Instant,
    ) -> Vec<LimitHit> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = [0; FILE_LEN];
        let mut path = path.trim_end_matches('/');
        let mut hits = Vec::new();
        while !path.is_empty() {
            let read = hierarchy.open_cgroup(path).ok().and_then(|fd| {
                let inode = fstat(&fd).ok()?.st_ino;
                let mut dir = Dir::new(fd, deadline, &mut buffer);
                Some((inode, parse_keyed(dir.read_file(EVENTS).ok()?, "oom")?))
            });
            hits.push(read.map_or(LimitHit::Unread, |(inode, count)| {
                counts.check_hit(inode, count, stamp_ns, now_ns)
            }));
            path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
        hits
    }
}
