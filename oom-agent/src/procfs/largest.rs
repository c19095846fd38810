//! Reads processes other than the victim: the node's largest, the trigger, the agent.

use std::fs;
use std::time::Instant;

use super::Procfs;
use crate::incident::Process;

/// The most processes read.
const MOST: usize = 16_384;

impl Procfs {
    /// The agent's pid on the host: `self` is resolved in the PID namespace of the mount.
    pub(crate) fn own_pid(&self) -> Option<u32> {
        fs::read_link(self.processes.root().join("self"))
            .ok()?
            .to_str()?
            .parse()
            .ok()
    }

    /// The memory cgroup of a running process, from the hierarchy's root on.
    pub(crate) fn read_cgroup(&self, pid: u32) -> Option<String> {
        let seen = self.processes.open(pid).ok()?.cgroup()?;
        self.namespace.absolute_path(&seen)
    }

    /// The process with the most resident memory that is not in `except`, with its cgroup; and whether all
    /// were read before `deadline`.
    pub(crate) fn find_largest(
        &self,
        except: &[u32],
        page_size: u64,
        deadline: Instant,
    ) -> (Option<(Process, String)>, bool) {
        let Ok(pids) = self.processes.pids() else {
            return (None, false);
        };
        let others = pids.into_iter().filter(|pid| !except.contains(pid));
        let mut largest = None;
        for (read, pid) in others.enumerate() {
            if read >= MOST || Instant::now() >= deadline {
                return (self.read_details(largest), false);
            }
            largest = largest.max(Some((self.resident_bytes(pid, page_size), pid)));
        }
        (self.read_details(largest), true)
    }

    fn resident_bytes(&self, pid: u32, page_size: u64) -> u64 {
        let pages = || {
            let statm = self.processes.open(pid).ok()?.read_text("statm").ok()?;
            statm.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
        };
        pages().unwrap_or(0).saturating_mul(page_size)
    }

    fn read_details(&self, found: Option<(u64, u32)>) -> Option<(Process, String)> {
        let (rss_bytes, pid) = found.filter(|(rss_bytes, _)| *rss_bytes > 0)?;
        let handle = self.processes.open(pid).ok()?;
        let process = Process {
            pid,
            comm: handle.read_text("comm").ok()?.trim_end().to_owned(),
            oom_score_adj: handle.read_number("oom_score_adj"),
            rss_bytes,
        };
        Some((process, self.cgroup_of(&handle)?))
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
        let found = procfs.find_largest(&[], 4096, soon);
        assert_eq!(found, (Some((expected(40, 1000), cgroup())), true));
        let found = procfs.find_largest(&[40], 4096, soon);
        assert_eq!(found, (Some((expected(41, 500), cgroup())), true));
        assert_eq!(
            procfs.find_largest(&[], 4096, Instant::now()),
            (None, false)
        );
        assert_eq!(procfs.own_pid(), Some(41));
        assert_eq!(procfs.read_cgroup(7), Some(cgroup()));
        let namespace = CgroupNamespace::from_paths(Some("/kubepods/pod1"), Some("/"));
        let within = procfs.clone().with_namespace(namespace);
        assert_eq!(within.read_cgroup(7).as_deref(), Some("/kubepods/pod1/x"));
        let unknown = CgroupNamespace::from_paths(None, None);
        let unknown = procfs.clone().with_namespace(unknown);
        assert_eq!(unknown.read_cgroup(7), None);
        assert_eq!(procfs.read_cgroup(8), None);
    }
}
