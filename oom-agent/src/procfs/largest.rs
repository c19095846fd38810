//! Processes but the victim: the node's largest, the trigger, this one.

use std::fs;
use std::time::Instant;

use memcg::parse_memory_cgroup;

use super::{Procfs, text};
use crate::incident::Process;

/// Processes that are looked at.
const MOST: usize = 16_384;

impl Procfs {
    /// This process as the host numbers it: `self` is resolved in the PID namespace of the mount.
    pub fn own_pid(&self) -> Option<u32> {
        fs::read_link(self.root.join("self"))
            .ok()?
            .to_str()?
            .parse()
            .ok()
    }

    /// The memory cgroup of a process that lives, from the hierarchy's root on.
    pub fn cgroup(&self, pid: u32) -> Option<String> {
        let seen = parse_memory_cgroup(&text(&self.open(pid).ok()?, "cgroup").ok()?)?;
        self.namespace.absolute_path(&seen)
    }

    /// The process with the most resident memory but those in `but`, with its cgroup; and whether all
    /// were looked at before `deadline`.
    pub fn largest(
        &self,
        but: &[u32],
        page_size: u64,
        deadline: Instant,
    ) -> (Option<(Process, String)>, bool) {
        let Ok(all) = fs::read_dir(&self.root) else {
            return (None, false);
        };
        let pids = all
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let (mut largest, mut looked) = (None, 0_usize);
        for pid in pids.filter(|pid| !but.contains(pid)) {
            looked = looked.saturating_add(1);
            if looked > MOST || Instant::now() >= deadline {
                return (self.describe(largest), false);
            }
            largest = largest.max(Some((self.resident(pid, page_size), pid)));
        }
        (self.describe(largest), true)
    }

    fn resident(&self, pid: u32, page_size: u64) -> u64 {
        let pages = || {
            let statm = text(&self.open(pid).ok()?, "statm").ok()?;
            statm.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
        };
        pages().unwrap_or(0).saturating_mul(page_size)
    }

    fn describe(&self, found: Option<(u64, u32)>) -> Option<(Process, String)> {
        let (rss_bytes, pid) = found.filter(|(rss_bytes, _)| *rss_bytes > 0)?;
        let dir = self.open(pid).ok()?;
        let line = |name: &str| Some(text(&dir, name).ok()?.trim_end().to_owned());
        let process = Process {
            pid,
            comm: line("comm")?,
            oom_score_adj: line("oom_score_adj").and_then(|adj| adj.parse().ok()),
            rss_bytes,
        };
        Some((process, self.cgroup_at(&dir)?))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use memcg::CgroupNamespace;

    #[test]
    fn the_largest_process_is_found_with_its_cgroup() {
        let root = tempfile::tempdir().unwrap();
        for (pid, pages) in [(2, 0), (7, 90), (40, 1000), (41, 500)] {
            let dir = root.path().join(pid.to_string());
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("statm"), format!("9999 {pages} 3 1 0 5 0\n")).unwrap();
            fs::write(dir.join("comm"), format!("p{pid}\n")).unwrap();
            fs::write(dir.join("oom_score_adj"), "-5\n").unwrap();
            fs::write(dir.join("cgroup"), "0::/x\n").unwrap();
        }
        std::os::unix::fs::symlink("41", root.path().join("self")).unwrap();
        let procfs = Procfs::new(root.path());
        let soon = Instant::now() + Duration::from_mins(1);
        let expected = |pid, pages: u64| Process {
            pid,
            comm: format!("p{pid}"),
            oom_score_adj: Some(-5),
            rss_bytes: pages * 4096,
        };
        let cgroup = || "/x".to_owned();
        let found = procfs.largest(&[], 4096, soon);
        assert_eq!(found, (Some((expected(40, 1000), cgroup())), true));
        let found = procfs.largest(&[40], 4096, soon);
        assert_eq!(found, (Some((expected(41, 500), cgroup())), true));
        assert_eq!(procfs.largest(&[], 4096, Instant::now()), (None, false));
        assert_eq!(procfs.own_pid(), Some(41));
        assert_eq!(procfs.cgroup(7), Some(cgroup()));
        let namespace = CgroupNamespace::from_paths(Some("/kubepods/pod1"), Some("/"));
        let within = procfs.clone().with_namespace(namespace);
        assert_eq!(within.cgroup(7).as_deref(), Some("/kubepods/pod1/x"));
        let unknown = CgroupNamespace::from_paths(None, None);
        let unknown = procfs.clone().with_namespace(unknown);
        assert_eq!(unknown.cgroup(7), None);
        assert_eq!(procfs.cgroup(8), None);
    }
}
