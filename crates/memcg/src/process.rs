//! Processes as procfs shows them, each by a handle that stays its own.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::{Mode, OFlags, openat};

use crate::namespace::parse_memory_cgroup;

/// The most that is read of one file, in bytes.
const FILE_LEN: u64 = 64 << 10;

/// The longest command, in bytes.
const COMMAND_LEN: usize = 256;

/// `PROC_PID_INIT_INO` of the kernel's `include/linux/proc_ns.h`.
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// A mounted procfs.
#[derive(Clone, Debug)]
pub struct Processes {
    root: PathBuf,
}

/// A process's directory in procfs, open: all that is read of it is of this process or of none.
#[derive(Debug)]
pub struct ProcessHandle {
    dir: File,
}

/// What distinguishes a process from every other that ever has its pid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// In the PID namespace of the mount.
    pub pid: u32,
    /// Since boot, in clock ticks.
    pub start_ticks: u64,
    /// Of the memory controller, as far as this process's cgroup namespace shows it.
    pub cgroup: String,
}

/// `/proc/PID/stat`: `proc_pid_stat(5)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessStat {
    /// Field 1.
    pub pid: u32,
    /// Field 3 is a zombie's: its memory is gone, and it takes no signal.
    pub ended: bool,
    /// Field 9: `PF_*` of the kernel's `include/linux/sched.h`.
    pub flags: u64,
    /// Field 22.
    pub start_ticks: u64,
}

/// `/proc/PID/status`: `proc_pid_status(5)`.
#[derive(Clone, Debug)]
pub struct ProcessStatus(String);

/// `/proc/PID/oom_score` and `oom_score_adj`: how the OOM killer ranks a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OomScores {
    /// 0 to 2000.
    pub oom_score: i32,
    /// -1000 to 1000.
    pub oom_score_adj: i32,
}

/// Whether this process sees all of the host's processes, by the pids that the kernel has for them.
pub fn is_initial_pid_namespace() -> bool {
    let namespace = fs::read_link("/proc/self/ns/pid");
    namespace.is_ok_and(|namespace| namespace.as_os_str() == INITIAL_PID_NAMESPACE)
}

/// The processes of a cgroup, without those of its descendants and of other PID namespaces than the mount's.
pub fn read_cgroup_pids(dir: &Path) -> io::Result<BTreeSet<u32>> {
    let text = fs::read_to_string(dir.join("cgroup.procs"))?;
    let pids = text.lines().filter_map(|pid| pid.parse().ok());
    // A process of another PID namespace is 0.
    Ok(pids.filter(|pid| *pid != 0).collect())
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

    /// The pids of all processes.
    pub fn pids(&self) -> io::Result<BTreeSet<u32>> {
        let entries = fs::read_dir(&self.root)?;
        let pid = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
        Ok(entries.filter_map(pid).collect())
    }

    /// A handle of the process that has this pid now.
    pub fn open(&self, pid: u32) -> io::Result<ProcessHandle> {
        let flags = OFlags::DIRECTORY.bits().cast_signed();
        let mut options = OpenOptions::new();
        let dir = options.read(true).custom_flags(flags);
        Ok(ProcessHandle {
            dir: dir.open(self.root.join(pid.to_string()))?,
        })
    }
}

// === impl ProcessHandle ===

impl ProcessHandle {
    /// `None` once it has ended.
    pub fn identity(&self) -> Option<ProcessIdentity> {
        let stat = self.stat().ok().flatten().filter(|stat| !stat.ended)?;
        Some(ProcessIdentity {
            pid: stat.pid,
            start_ticks: stat.start_ticks,
            cgroup: self.cgroup()?,
        })
    }

    /// `None` where it is malformed.
    pub fn stat(&self) -> io::Result<Option<ProcessStat>> {
        Ok(ProcessStat::parse(&self.read_text("stat")?))
    }

    /// Its status as of now.
    pub fn status(&self) -> io::Result<ProcessStatus> {
        self.read_text("status").map(ProcessStatus)
    }

    /// Its memory cgroup, as far as this process's cgroup namespace shows it.
    pub fn cgroup(&self) -> Option<String> {
        parse_memory_cgroup(&self.read_text("cgroup").ok()?)
    }

    /// `None` once it has ended.
    pub fn oom_scores(&self) -> Option<OomScores> {
        Some(OomScores {
            oom_score: self.read_number("oom_score")?,
            oom_score_adj: self.read_number("oom_score_adj")?,
        })
    }

    /// A file of one number.
    pub fn read_number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.read_text(name).ok()?.trim().parse().ok()
    }

    /// What it was started as, without arguments, which may hold secrets.
    pub fn command(&self) -> String {
        let whole = self.read_text("cmdline").unwrap_or_default();
        let first = whole.split('\0').next().unwrap_or_default();
        let end = first.floor_char_boundary(COMMAND_LEN);
        first.get(..end).unwrap_or_default().to_owned()
    }

    /// A file, replacing what is not UTF-8.
    pub fn read_text(&self, name: &str) -> io::Result<String> {
        let bytes = self.read(name, FILE_LEN)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The first bytes of a file.
    pub fn read(&self, name: &str, at_most: u64) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = File::from(openat(&self.dir, name, flags, Mode::empty())?);
        let mut bytes = Vec::new();
        file.take(at_most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl AsFd for ProcessHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

// === impl ProcessStat ===

impl ProcessStat {
    /// The name between the first two fields may hold anything.
    fn parse(text: &str) -> Option<Self> {
        let (pid, _) = text.split_once(" (")?;
        let (_, rest) = text.rsplit_once(") ")?;
        // From field 3 on.
        let mut fields = rest.split_ascii_whitespace();
        Some(Self {
            pid: pid.parse().ok()?,
            ended: fields.next()?.starts_with(['Z', 'X']),
            flags: fields.nth(5)?.parse().ok()?,
            start_ticks: fields.nth(12)?.parse().ok()?,
        })
    }
}

// === impl ProcessStatus ===

impl ProcessStatus {
    /// The value of a line.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(':')
                .map(str::trim_ascii)
        })
    }

    /// The first number of a line.
    pub fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.numbers(name).next()
    }

    /// All numbers of a line.
    pub fn numbers<T: FromStr>(&self, name: &str) -> impl Iterator<Item = T> {
        let words = self.field(name).unwrap_or_default();
        words
            .split_ascii_whitespace()
            .map_while(|word| word.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_past_any_name() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        let expected = ProcessStat {
            pid: 42,
            ended: false,
            flags: 6,
            start_ticks: 4711,
        };
        let read = |name: &str, rest: &str| ProcessStat::parse(&format!("42 ({name}) {rest}"));
        assert_eq!(read("sh", rest), Some(expected));
        assert_eq!(read("a) Z 9 (b", rest), Some(expected));
        assert_eq!(read("sh", "S 1"), None);
        let ended = ProcessStat {
            ended: true,
            ..expected
        };
        assert_eq!(read("sh", &rest.replace("S 1", "Z 1")), Some(ended));
        assert_eq!(ProcessStat::parse(""), None);
    }

    #[test]
    fn this_process_is_among_all_and_has_an_identity() {
        let processes = Processes::new("/proc");
        let pid = std::process::id();
        assert!(processes.pids().unwrap().contains(&pid));
        let handle = processes.open(pid).unwrap();
        assert_eq!(handle.identity().unwrap().pid, pid);
        assert_eq!(handle.identity(), handle.identity());
        assert!(handle.oom_scores().is_some());
        assert!(handle.command().contains("memcg"), "{}", handle.command());
        let status = handle.status().unwrap();
        assert_eq!(status.number("Tgid"), Some(pid));
        assert!(status.numbers::<u32>("NSpid").count() >= 1);
        assert_eq!(status.number::<u32>("Name"), None);
    }
}
