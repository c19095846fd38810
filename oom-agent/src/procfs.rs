//! A process as /proc shows it: the second choice, because it can be gone.

mod largest;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustix::thread::CapabilitySet;

use crate::incident::{Rss, Victim};

/// The most that is read of one file, in bytes.
const FILE_LEN: u64 = 64 << 10;

/// The most that is kept of a command line, in bytes; as in the kernel half.
const CMDLINE_LEN: u64 = 1024;

/// `PROC_PID_INIT_INO` of the kernel's `include/linux/proc_ns.h`.
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// `PF_KTHREAD` of the kernel's `include/linux/sched.h`, in field 9 of `proc_pid_stat(5)`.
const PF_KTHREAD: u64 = 0x0020_0000;

/// A mounted procfs.
#[derive(Clone, Debug)]
pub struct Procfs {
    root: PathBuf,
}

/// Whether this process sees all of the host's processes, under the numbers that the kernel has for them.
pub fn is_initial_pid_namespace() -> bool {
    let namespace = std::fs::read_link("/proc/self/ns/pid");
    namespace.is_ok_and(|namespace| namespace.as_os_str() == INITIAL_PID_NAMESPACE)
}

/// Whether this process may signal those of other users.
pub fn may_kill() -> bool {
    let sets = rustix::thread::capabilities(None);
    sets.is_ok_and(|sets| sets.effective.contains(CapabilitySet::KILL))
}

// === impl Procfs ===

impl Procfs {
    /// `root` is where it is mounted.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The one at `named`, else `/proc`; if it numbers processes as the kernel's records do: in the
    /// initial PID namespace. Elsewhere a victim's number is nobody's, or another process's.
    pub fn of_host(named: Option<&Path>) -> Option<Self> {
        let Some(root) = named else {
            return is_initial_pid_namespace().then(|| Self::new("/proc"));
        };
        let procfs = Self::new(root);
        match procfs.shows_kernel_threads() {
            Ok(true) => return Some(procfs),
            Ok(false) => tracing::warn!(
                path = %root.display(),
                "this procfs is not the initial PID namespace's, and is done without: mount the host's"
            ),
            Err(error) => tracing::warn!(
                %error,
                path = %root.display(),
                "the host's procfs cannot be read, and is done without"
            ),
        }
        None
    }

    /// Whether its process 2 is kthreadd. That one is told from any other by its flags, and only in
    /// the initial PID namespace are there threads of the kernel. (The namespace's own name, in
    /// `1/ns/pid`, cannot be read without `CAP_SYS_PTRACE`.)
    fn shows_kernel_threads(&self) -> io::Result<bool> {
        let stat = read(&self.root.join("2/stat"), FILE_LEN)?;
        let stat = String::from_utf8_lossy(&stat);
        // After the name, which may hold anything: state ppid pgrp session tty_nr tpgid flags.
        let flags = stat.rsplit_once(") ").and_then(|(_, rest)| {
            let flags = rest.split_ascii_whitespace().nth(6)?;
            flags.parse::<u64>().ok()
        });
        Ok(flags.is_some_and(|flags| flags & PF_KTHREAD != 0))
    }

    /// Fills what is still missing of the process or thread `victim.pid`, and says what stays so.
    pub fn fill(&self, victim: &mut Victim, degraded: &mut Vec<String>) {
        let dir = self.root.join(victim.pid.to_string());
        let status = match read(&dir.join("status"), FILE_LEN) {
            Ok(status) => String::from_utf8_lossy(&status).into_owned(),
            Err(error) => {
                degraded.push(format!(
                    "gone before /proc could be read ({})",
                    error.kind()
                ));
                return;
            }
        };
        fill_from_status(victim, &status);
        let text = |name: &str| {
            let bytes = read(&dir.join(name), FILE_LEN).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        // A process that has ended is shown in the root cgroup, and without memory.
        let ended = field(&status, "State").is_some_and(|state| state.starts_with(['Z', 'X']));
        if victim.cgroup.is_none() && !ended {
            victim.cgroup = text("cgroup").and_then(|text| memory_cgroup(&text));
        }
        if victim.oom_score_adj.is_none() {
            victim.oom_score_adj = text("oom_score_adj").and_then(|text| text.trim().parse().ok());
        }
        if victim.cmdline.is_none() {
            // Empty once the address space is gone.
            victim.cmdline = read(&dir.join("cmdline"), CMDLINE_LEN)
                .ok()
                .filter(|bytes| !bytes.is_empty())
                .map(|bytes| crate::incident::arguments(&bytes));
        }
        let missing = [
            ("cgroup", victim.cgroup.is_none()),
            ("oom_score_adj", victim.oom_score_adj.is_none()),
            ("cmdline", victim.cmdline.is_none()),
            ("rss_bytes", victim.rss_bytes.is_none()),
            ("start_boot_ns", victim.start_boot_ns.is_none()),
        ];
        for (field, _) in missing.iter().filter(|(_, missing)| *missing) {
            degraded.push(format!(
                "{field}: not to be had from /proc{}",
                if ended { ", it had ended" } else { "" }
            ));
        }
    }
}

fn read(path: &Path, at_most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(at_most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| {
        line.strip_prefix(name)?
            .strip_prefix(':')
            .map(str::trim_ascii)
    })
}

fn fill_from_status(victim: &mut Victim, status: &str) {
    let kib = |name: &str| {
        let digits = field(status, name)?.strip_suffix("kB")?.trim_ascii_end();
        digits.parse::<u64>().ok()?.checked_mul(1024)
    };
    let number = |name: &str| {
        field(status, name)?
            .split_ascii_whitespace()
            .next()?
            .parse()
            .ok()
    };
    // What was marked can be a thread: an incident names its process.
    victim.pid = number("Tgid").unwrap_or(victim.pid);
    victim.parent_pid = victim.parent_pid.or_else(|| number("PPid"));
    victim.uid = victim.uid.or_else(|| number("Uid"));
    victim.comm = victim
        .comm
        .take()
        .or_else(|| field(status, "Name").map(str::to_owned));
    if victim.namespace_pid.is_none()
        && let Some(pids) = field(status, "NSpid")
    {
        let mut pids = pids.split_ascii_whitespace();
        victim.namespace_pid = pids.next_back().and_then(|pid| pid.parse().ok());
        victim.namespace_level = u32::try_from(pids.count()).ok();
    }
    victim.rss_bytes = victim.rss_bytes.or_else(|| {
        Some(Rss {
            anon: kib("RssAnon")?,
            file: kib("RssFile")?,
            shmem: kib("RssShmem")?,
        })
    });
}

/// `hierarchy:controllers:path` a line: the memory controller's (cgroup v1), else the unified one's (v2).
pub(crate) fn memory_cgroup(text: &str) -> Option<String> {
    let lines = || {
        text.lines().filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            rest.split_once(':')
        })
    };
    lines()
        .find(|(controllers, _)| controllers.split(',').any(|name| name == "memory"))
        .or_else(|| lines().find(|(controllers, _)| controllers.is_empty()))
        .map(|(_, path)| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Procfs) {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("4243");
        std::fs::create_dir(&dir).unwrap();
        for (name, content) in files {
            std::fs::write(dir.join(name), content).unwrap();
        }
        let procfs = Procfs::new(root.path());
        (root, procfs)
    }

    const STATUS: &[u8] = b"Name:\tpython3\nUmask:\t0022\nTgid:\t4242\nPid:\t4243\nPPid:\t7\n\
        Uid:\t1000\t0\t0\t0\nNSpid:\t4243\t17\nRssAnon:\t   65108 kB\nRssFile:\t     1204 kB\nRssShmem:\t       8 kB\n";

    #[test]
    fn a_thread_that_still_lives_gives_its_process_whole() {
        let (_root, procfs) = process(&[
            ("status", STATUS),
            ("cgroup", b"9:memory:/a:b\n1:name=systemd:/x\n0::/y\n"),
            ("oom_score_adj", b"-17\n"),
            ("cmdline", b"python3\0-c\0\0x = 1\0"),
        ]);
        let mut victim = Victim {
            pid: 4243,
            ..Victim::default()
        };
        let mut degraded = Vec::new();
        procfs.fill(&mut victim, &mut degraded);
        assert_eq!(
            victim,
            Victim {
                pid: 4242,
                comm: Some("python3".to_owned()),
                cmdline: Some(["python3", "-c", "", "x = 1"].map(str::to_owned).to_vec()),
                uid: Some(1000),
                oom_score_adj: Some(-17),
                rss_bytes: Some(Rss {
                    anon: 65108 << 10,
                    file: 1204 << 10,
                    shmem: 8 << 10
                }),
                cgroup: Some("/a:b".to_owned()),
                environment: None,
                parent_pid: Some(7),
                namespace_pid: Some(17),
                namespace_level: Some(1),
                start_boot_ns: None,
                container: None,
                pod: None,
            }
        );
        assert_eq!(degraded, ["start_boot_ns: not to be had from /proc"]);
    }

    #[test]
    fn a_zombie_has_no_memory_and_no_command_line_left() {
        let (_root, procfs) = process(&[
            (
                "status",
                b"Name:\ttail\nState:\tZ (zombie)\nTgid:\t4243\nUid:\t0\t0\t0\t0\n",
            ),
            ("cgroup", b"0::/\n"),
            ("oom_score_adj", b"0\n"),
            ("cmdline", b""),
        ]);
        let mut victim = Victim {
            pid: 4243,
            ..Victim::default()
        };
        let mut degraded = Vec::new();
        procfs.fill(&mut victim, &mut degraded);
        assert_eq!(victim.rss_bytes, None);
        assert_eq!(victim.cmdline, None);
        assert_eq!(victim.cgroup, None, "a zombie is shown in the root cgroup");
        assert_eq!(
            degraded,
            ["cgroup", "cmdline", "rss_bytes", "start_boot_ns"]
                .map(|field| format!("{field}: not to be had from /proc, it had ended"))
        );
    }

    #[test]
    fn what_is_known_already_stays() {
        let (_root, procfs) = process(&[
            ("status", STATUS),
            ("cgroup", b"0::/moved\n"),
            ("oom_score_adj", b"5\n"),
            ("cmdline", b"python3\0"),
        ]);
        let known = Victim {
            pid: 4242,
            comm: Some("py".to_owned()),
            uid: Some(0),
            oom_score_adj: Some(9),
            cgroup: Some("/first".to_owned()),
            rss_bytes: Some(Rss::default()),
            parent_pid: Some(3),
            namespace_pid: Some(2),
            namespace_level: Some(2),
            start_boot_ns: Some(1),
            ..Victim::default()
        };
        std::fs::rename(procfs.root.join("4243"), procfs.root.join("4242")).unwrap();
        let (mut victim, mut degraded) = (known.clone(), Vec::new());
        procfs.fill(&mut victim, &mut degraded);
        let cmdline = Some(vec!["python3".to_owned()]);
        assert_eq!(victim, Victim { cmdline, ..known });
        assert_eq!(degraded, Vec::<String>::new());
    }

    #[test]
    fn a_named_procfs_is_the_hosts_if_kthreadd_is_its_second_process() {
        let with_second = |stat: &str| {
            let root = tempfile::tempdir().unwrap();
            std::fs::create_dir(root.path().join("2")).unwrap();
            std::fs::write(root.path().join("2/stat"), stat).unwrap();
            Procfs::of_host(Some(root.path())).is_some()
        };
        assert!(with_second("2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0\n"));
        assert!(!with_second("2 (kthreadd) S 1 2 2 0 -1 4194304 0 0 0 0\n"));
        assert!(
            !with_second("2 (a) S 0 0 0 0 -1 2129984) S 1 2 2 0 -1 0 0\n"),
            "a process that is called so"
        );
        assert!(!with_second("2 (kthreadd) S 0\n"));
        assert!(Procfs::of_host(Some(Path::new("/nowhere"))).is_none());
    }

    #[test]
    fn a_process_that_is_gone_is_said_to_be() {
        let (_root, procfs) = process(&[]);
        let mut victim = Victim {
            pid: 1,
            ..Victim::default()
        };
        let mut degraded = Vec::new();
        procfs.fill(&mut victim, &mut degraded);
        assert_eq!(
            degraded,
            ["gone before /proc could be read (entity not found)"]
        );
    }
}
