//! Processes as /proc shows them, each by a handle that stays its own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use memcg::parse_memory_cgroup;
use rustix::fs::{Mode, OFlags, openat};
use service::escape;

use crate::pressure::threshold::Scores;

/// The most that is read of one file, in bytes.
const FILE_LEN: u64 = 16 << 10;

/// The longest command that is told, in bytes.
const COMMAND_LEN: usize = 256;

/// A mounted procfs.
#[derive(Clone, Debug)]
pub struct Processes {
    root: PathBuf,
}

/// A process's directory in procfs, open: whatever is read of it is of this process or of none.
#[derive(Debug)]
pub struct Held {
    dir: File,
}

/// What tells a process from every other that ever has its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its number in the procfs that was asked.
    pub pid: u32,
    /// Since boot, in clock ticks: field 22 of `proc_pid_stat(5)`.
    pub started: u64,
    /// Of the memory controller, as far as the asking process's cgroup namespace shows it.
    pub cgroup: String,
}

// === impl Processes ===

impl Processes {
    /// `root` is where it is mounted.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where it is mounted.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The numbers of all that are there, in no order.
    pub fn all(&self) -> io::Result<Vec<u32>> {
        let entries = fs::read_dir(&self.root)?;
        let number =
            |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
        Ok(entries.filter_map(number).collect())
    }

    /// A handle of the process that has this number now.
    pub fn open(&self, pid: u32) -> io::Result<Held> {
        let flags = OFlags::DIRECTORY.bits().cast_signed();
        let mut options = OpenOptions::new();
        let dir = options.read(true).custom_flags(flags);
        Ok(Held {
            dir: dir.open(self.root.join(pid.to_string()))?,
        })
    }
}

// === impl Held ===

impl Held {
    /// `None` once it has ended.
    pub fn identity(&self) -> Option<Identity> {
        let (pid, started) = stat(&self.read("stat").ok()?)?;
        let cgroup = parse_memory_cgroup(&self.read("cgroup").ok()?)?;
        Some(Identity {
            pid,
            started,
            cgroup,
        })
    }

    /// What each PID namespace calls it, from the asked procfs's to its own: the last is 1 of a
    /// container's first process. Empty once it has ended.
    pub fn namespace_pids(&self) -> Vec<u32> {
        let status = self.read("status").unwrap_or_default();
        let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let pids = pids.into_iter().flat_map(str::split_ascii_whitespace);
        pids.filter_map(|pid| pid.parse().ok()).collect()
    }

    /// Its parent's number in the asked procfs.
    pub fn parent(&self) -> Option<u32> {
        let status = self.read("status").ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        parent?.trim().parse().ok()
    }

    /// How the OOM killer ranks it.
    pub fn scores(&self) -> Option<Scores> {
        let number = |name| self.read(name).ok()?.trim().parse().ok();
        Some(Scores {
            oom_score: number("oom_score")?,
            oom_score_adj: number("oom_score_adj")?,
        })
    }

    /// What it was started as, without arguments, which may hold secrets.
    pub fn command(&self) -> String {
        let whole = self.read("cmdline").unwrap_or_default();
        let first = whole.split('\0').next().unwrap_or_default();
        escape::truncate(first, COMMAND_LEN).to_owned()
    }

    fn read(&self, name: &str) -> io::Result<String> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat(&self.dir, name, flags, Mode::empty())?;
        let mut bytes = Vec::new();
        File::from(file).take(FILE_LEN).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// Number and start of a process that runs; the name between them may hold anything. A zombie's
/// memory is gone, and it takes no signal.
fn stat(text: &str) -> Option<(u32, u64)> {
    let (pid, _) = text.split_once(" (")?;
    let (_, rest) = text.rsplit_once(") ")?;
    if rest.starts_with(['Z', 'X']) {
        return None;
    }
    // From field 3 on.
    let started = rest.split_ascii_whitespace().nth(19)?;
    Some((pid.parse().ok()?, started.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_and_start_are_read_past_any_name() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        let read = |text: &str| stat(text);
        assert_eq!(read(&format!("42 (sh) {rest}")), Some((42, 4711)));
        assert_eq!(read(&format!("42 (a) Z 9 (b) {rest}")), Some((42, 4711)));
        assert_eq!(read("42 (sh) S 1"), None);
        let zombie = rest.replace("S 1", "Z 1");
        assert_eq!(read(&format!("42 (sh) {zombie}")), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn this_process_is_among_all_and_has_an_identity() {
        let processes = Processes::new("/proc");
        let pid = std::process::id();
        assert!(processes.all().unwrap().contains(&pid));
        let held = processes.open(pid).unwrap();
        assert_eq!(held.identity().unwrap().pid, pid);
        assert_eq!(held.identity(), held.identity());
        assert!(held.scores().is_some());
        assert!(held.command().contains("oom_agent"), "{}", held.command());
    }
}
