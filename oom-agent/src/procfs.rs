//! A process as /proc shows it: the second choice, because it can be gone.

mod largest;

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat};
use rustix::thread::CapabilitySet;

use memcg::{CgroupNamespace, parse_memory_cgroup};

use oom_capture::{Process, Rss, Victim};

/// The most that is read of one file, in bytes.
const FILE_LEN: u64 = 64 << 10;

/// The most that is kept of a command line, in bytes; as in the kernel half.
const CMDLINE_LEN: u64 = 1024;

/// `PROC_PID_INIT_INO` of the kernel's `include/linux/proc_ns.h`.
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// `PF_KTHREAD` of the kernel's `include/linux/sched.h`, in field 9 of `proc_pid_stat(5)`.
const PF_KTHREAD: u64 = 0x0020_0000;

/// Of field 22 of `proc_pid_stat(5)`, in ns: `USER_HZ` is 100 wherever Linux runs.
const TICK_NS: u64 = 10_000_000;

/// A mounted procfs.
#[derive(Clone, Debug)]
pub struct Procfs {
    root: PathBuf,
    namespace: CgroupNamespace,
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
    /// `root` is where it is mounted; read in the initial cgroup namespace.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            namespace: CgroupNamespace::initial(),
        }
    }

    /// Read in that cgroup namespace.
    #[must_use]
    pub fn with_namespace(self, namespace: CgroupNamespace) -> Self {
        Self { namespace, ..self }
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
        let stat = text(&self.open(2)?, "stat")?;
        // After the name, which may hold anything: state ppid pgrp session tty_nr tpgid flags.
        let flags = stat.rsplit_once(") ").and_then(|(_, rest)| {
            let flags = rest.split_ascii_whitespace().nth(6)?;
            flags.parse::<u64>().ok()
        });
        Ok(flags.is_some_and(|flags| flags & PF_KTHREAD != 0))
    }

    /// Fills what is still missing of the process or thread `victim.pid`, which was killed at
    /// `killed_boot_ns` (`CLOCK_BOOTTIME`), and notes why the rest stays so.
    pub fn fill(&self, killed: &mut Victim, killed_boot_ns: u64) {
        let (Ok(reason) | Err(reason)) = self.try_fill(killed, killed_boot_ns);
        killed.missing.push(reason);
    }

    /// Gives the reason.
    fn try_fill(&self, killed: &mut Victim, killed_boot_ns: u64) -> Result<String, String> {
        let victim = &mut killed.process;
        let gone = |error: io::Error| format!("gone before /proc could be read ({})", error.kind());
        // Whatever is read by this handle is of one process, whoever gets its number.
        let dir = self.open(victim.pid).map_err(gone)?;
        let status = text(&dir, "status").map_err(gone)?;
        let started = started(&text(&dir, "stat").map_err(gone)?);
        if !started.is_some_and(|ticks| is_victim(ticks, victim.start_boot_ns, killed_boot_ns)) {
            return Err(
                "gone before /proc could be read: another process has its number".to_owned(),
            );
        }
        fill_from_status(victim, &status);
        // A process that has ended is shown in the root cgroup, and without memory.
        let ended = field(&status, "State").is_some_and(|state| state.starts_with(['Z', 'X']));
        if victim.cgroup.is_none() && !ended {
            victim.cgroup = self.cgroup_at(&dir);
        }
        if victim.oom_score_adj.is_none() {
            let adj = text(&dir, "oom_score_adj").ok();
            victim.oom_score_adj = adj.and_then(|text| text.trim().parse().ok());
        }
        if victim.cmdline.is_none() {
            // Empty once the address space is gone.
            victim.cmdline = read(&dir, "cmdline", CMDLINE_LEN)
                .ok()
                .filter(|bytes| !bytes.is_empty())
                .map(|bytes| oom_capture::split_arguments(&bytes));
        }
        if killed.parent_above.is_none() {
            let parent = || {
                let number: u32 = number(&status, "PPid")?;
                let cgroup = self.cgroup_at(&self.open(number).ok()?)?;
                // As long as it is the parent its number is its own.
                let again = number_of_parent(&dir)?;
                (again == number).then_some(cgroup)
            };
            let own = victim.cgroup.as_deref();
            let known = own.zip(parent());
            // A whole path and one without its ancestors have nothing in common.
            let is_whole = |path: &str| !path.starts_with("/…");
            let known = known.filter(|(own, parent)| is_whole(own) == is_whole(parent));
            killed.parent_above = known.map(|(own, parent)| levels_above(own, &parent));
        }
        let ended = if ended { ", it had ended" } else { "" };
        Ok(format!("not to be had from /proc{ended}"))
    }

    /// The memory cgroup of an open process, from the hierarchy's root on or, where that cannot be told,
    /// without the ancestors next to the root.
    fn cgroup_at(&self, dir: &File) -> Option<String> {
        let seen = parse_memory_cgroup(&text(dir, "cgroup").ok()?)?;
        Some(self.namespace.display_path(&seen))
    }

    fn open(&self, pid: u32) -> io::Result<File> {
        let flags = OFlags::DIRECTORY.bits().cast_signed();
        let mut options = OpenOptions::new();
        let dir = options.read(true).custom_flags(flags);
        dir.open(self.root.join(pid.to_string()))
    }
}

fn read(dir: impl AsFd, name: &str, at_most: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = File::from(openat(dir, name, flags, Mode::empty())?);
    let mut bytes = Vec::new();
    file.take(at_most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text(dir: &File, name: &str) -> io::Result<String> {
    let bytes = read(dir, name, FILE_LEN)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn number_of_parent(dir: &File) -> Option<u32> {
    number(&text(dir, "status").ok()?, "PPid")
}

/// When a process was started, in ticks: field 22 of `proc_pid_stat(5)`. The name may hold anything.
fn started(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Whether a process that started then is the victim, and not one that got its number later.
fn is_victim(ticks: u64, start_boot_ns: Option<u64>, killed_boot_ns: u64) -> bool {
    match start_boot_ns {
        Some(start_boot_ns) => ticks == start_boot_ns / TICK_NS,
        None => ticks <= killed_boot_ns / TICK_NS,
    }
}

/// How many levels above `path` the nearest cgroup is that `other` is in, too.
fn levels_above(path: &str, other: &str) -> u32 {
    let names = |path: &str| -> Vec<String> {
        let names = path.split('/').filter(|name| !name.is_empty());
        names.map(str::to_owned).collect()
    };
    let (own, others) = (names(path), names(other));
    let shared = own.iter().zip(&others).take_while(|(a, b)| a == b).count();
    u32::try_from(own.len().saturating_sub(shared)).unwrap_or(u32::MAX)
}

fn number<T: std::str::FromStr>(status: &str, name: &str) -> Option<T> {
    field(status, name)?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| {
        line.strip_prefix(name)?
            .strip_prefix(':')
            .map(str::trim_ascii)
    })
}

fn fill_from_status(victim: &mut Process, status: &str) {
    let kib = |name: &str| {
        let digits = field(status, name)?.strip_suffix("kB")?.trim_ascii_end();
        digits.parse::<u64>().ok()?.checked_mul(1024)
    };
    // What was marked can be a thread: an incident names its process.
    victim.pid = number(status, "Tgid").unwrap_or(victim.pid);
    victim.parent_pid = victim.parent_pid.or_else(|| number(status, "PPid"));
    victim.uid = victim.uid.or_else(|| number(status, "Uid"));
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

#[cfg(test)]
mod tests {
    use super::*;

    const KILLED_NS: u64 = 5_000_000_000;

    /// A process that was started 1 s after the boot.
    fn stat() -> Vec<u8> {
        started_at(100)
    }

    fn started_at(ticks: u64) -> Vec<u8> {
        format!("4243 (a) S b) S 7 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 {ticks} 20 21\n")
            .into()
    }

    fn killed(process: Process) -> Victim {
        Victim {
            process,
            ..Victim::default()
        }
    }

    fn process(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Procfs) {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("4243");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("stat"), stat()).unwrap();
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
        let mut killed = killed(Process {
            pid: 4243,
            ..Process::default()
        });
        procfs.fill(&mut killed, KILLED_NS);
        assert_eq!(
            killed.process,
            Process {
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
            }
        );
        killed.note_missing_fields();
        assert_eq!(killed.degraded, ["start_boot_ns: not to be had from /proc"]);
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
        let mut killed = killed(Process {
            pid: 4243,
            parent_pid: Some(7),
            namespace_pid: Some(4243),
            ..Process::default()
        });
        procfs.fill(&mut killed, KILLED_NS);
        killed.note_missing_fields();
        assert_eq!(killed.process.rss_bytes, None);
        assert_eq!(killed.process.cmdline, None);
        let cgroup = killed.process.cgroup;
        assert_eq!(cgroup, None, "a zombie is shown in the root cgroup");
        assert_eq!(
            killed.degraded,
            ["start_boot_ns", "rss_bytes", "cgroup", "cmdline"]
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
        let known = Process {
            pid: 4242,
            comm: Some("py".to_owned()),
            uid: Some(0),
            oom_score_adj: Some(9),
            cgroup: Some("/first".to_owned()),
            rss_bytes: Some(Rss::default()),
            parent_pid: Some(3),
            namespace_pid: Some(2),
            namespace_level: Some(2),
            start_boot_ns: Some(1_004_000_000),
            ..Process::default()
        };
        std::fs::rename(procfs.root.join("4243"), procfs.root.join("4242")).unwrap();
        let late = "its signal has not reached it in time".to_owned();
        let mut killed = Victim {
            missing: vec![late],
            ..killed(known.clone())
        };
        procfs.fill(&mut killed, KILLED_NS);
        let cmdline = Some(vec!["python3".to_owned()]);
        assert_eq!(killed.process, Process { cmdline, ..known });
        // What was found later is known: nothing is said of it.
        killed.note_missing_fields();
        assert_eq!(killed.degraded, Vec::<String>::new());
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
        let mut killed = killed(Process {
            pid: 1,
            ..Process::default()
        });
        procfs.fill(&mut killed, KILLED_NS);
        assert_eq!(
            killed.missing,
            ["gone before /proc could be read (entity not found)"]
        );
    }

    #[test]
    fn whoever_has_got_its_number_is_not_the_victim() {
        let taken = "gone before /proc could be read: another process has its number";
        // When it was started is known of most victims, in ns; of all, when it was killed.
        let known = Some(1_009_999_999);
        for (ticks, start_boot_ns, is_it) in [
            (100, known, true),
            (101, known, false),
            (99, known, false),
            (500, None, true),
            (501, None, false),
        ] {
            let (_root, procfs) = process(&[
                ("stat", &started_at(ticks)),
                ("status", STATUS),
                ("cgroup", b"0::/innocent\n"),
                ("cmdline", b"innocent\0"),
            ]);
            let victim = Process {
                pid: 4243,
                start_boot_ns,
                ..Process::default()
            };
            let mut killed = killed(victim.clone());
            procfs.fill(&mut killed, KILLED_NS);
            assert_eq!(
                killed.process.comm.is_some(),
                is_it,
                "{ticks} {start_boot_ns:?}"
            );
            assert_eq!(killed.missing == [taken], !is_it, "{:?}", killed.missing);
            assert_eq!(killed.process == victim, !is_it);
        }
    }

    #[test]
    fn where_its_parent_is_is_told_by_both_cgroups() {
        let (root, procfs) = process(&[("status", STATUS), ("cgroup", b"0::/pods/a/b\n")]);
        let parent = root.path().join("7");
        std::fs::create_dir(&parent).unwrap();
        for (cgroup, above) in [
            ("/pods/a/b", 0),
            ("/pods/a/b/c", 0),
            ("/pods/a", 1),
            ("/pods/ab", 2),
            ("/", 3),
        ] {
            std::fs::write(parent.join("cgroup"), format!("0::{cgroup}\n")).unwrap();
            let mut killed = killed(Process {
                pid: 4243,
                ..Process::default()
            });
            procfs.fill(&mut killed, KILLED_NS);
            assert_eq!(killed.parent_above, Some(above), "{cgroup}");
        }
    }

    #[test]
    fn without_the_namespaces_root_a_path_still_names_its_container() {
        let (root, procfs) = process(&[("status", STATUS), ("cgroup", b"0::/../../pod/c\n")]);
        let procfs = procfs.with_namespace(CgroupNamespace::from_paths(None, None));
        let parent = root.path().join("7");
        std::fs::create_dir(&parent).unwrap();
        std::fs::write(parent.join("cgroup"), "0::/../../../system.slice\n").unwrap();
        let filled = |cgroup: Option<&str>| {
            let mut killed = killed(Process {
                pid: 4243,
                cgroup: cgroup.map(str::to_owned),
                ..Process::default()
            });
            procfs.fill(&mut killed, KILLED_NS);
            (killed.process.cgroup.unwrap(), killed.parent_above)
        };
        assert_eq!(filled(None), ("/…/pod/c".to_owned(), Some(2)));
        // The kernel's path is whole: how far the parent is cannot be told.
        let whole = "/kubepods/pod/c";
        assert_eq!(filled(Some(whole)), (whole.to_owned(), None));
    }
}
