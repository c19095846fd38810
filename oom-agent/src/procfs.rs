//! Reads a victim from /proc: the second choice, because it may have ended.

mod largest;

use std::io;
use std::path::Path;

use memcg::{CgroupNamespace, ProcessHandle, ProcessStatus, Processes, is_initial_pid_namespace};
use oom_capture::{Process, Rss, Victim};

/// The longest command line kept, in bytes; as in the kernel half.
const CMDLINE_LEN: u64 = 1024;

/// `PF_KTHREAD` of the kernel's `include/linux/sched.h`, in field 9 of `proc_pid_stat(5)`.
const PF_KTHREAD: u64 = 0x0020_0000;

/// Of field 22 of `proc_pid_stat(5)`, in ns: `USER_HZ` is 100 wherever Linux runs.
const TICK_NS: u64 = 10_000_000;

/// A mounted procfs.
#[derive(Clone, Debug)]
pub(crate) struct Procfs {
    processes: Processes,
    namespace: CgroupNamespace,
}

// === impl Procfs ===

impl Procfs {
    /// `root` is the mount point. Paths are read in the initial cgroup namespace.
    pub(crate) fn new(root: impl Into<std::path::PathBuf>) -> Self {
        Self {
            processes: Processes::new(root),
            namespace: CgroupNamespace::initial(),
        }
    }

    /// Paths are read in this cgroup namespace instead.
    #[must_use]
    pub(crate) fn with_namespace(self, namespace: CgroupNamespace) -> Self {
        Self { namespace, ..self }
    }

    /// The procfs at `named`, else `/proc`, if it is the initial PID namespace's, whose pids the kernel's
    /// records have. In any other namespace a victim's pid is unused, or another process's.
    pub(crate) fn find_host(named: Option<&Path>) -> Option<Self> {
        let Some(root) = named else {
            return is_initial_pid_namespace().then(|| Self::new("/proc"));
        };
        let procfs = Self::new(root);
        match procfs.shows_kernel_threads() {
            Ok(true) => return Some(procfs),
            Ok(false) => tracing::warn!(
                path = %root.display(),
                "this procfs is not the initial PID namespace's, and is not used: mount the host's"
            ),
            Err(error) => tracing::warn!(
                %error,
                path = %root.display(),
                "the host's procfs cannot be read, and is not used"
            ),
        }
        None
    }

    /// Whether its process 2 is kthreadd, by its flags: only the initial PID namespace has threads of the
    /// kernel. (The namespace's own name, in
    /// `1/ns/pid`, cannot be read without `CAP_SYS_PTRACE`.)
    fn shows_kernel_threads(&self) -> io::Result<bool> {
        let stat = self.processes.open(2)?.stat()?;
        Ok(stat.is_some_and(|stat| stat.flags & PF_KTHREAD != 0))
    }

    /// Fills the missing fields of the process or thread `victim.pid`, which was killed at `killed_boot_ns`
    /// (`CLOCK_BOOTTIME`), and notes why the rest stays missing.
    pub(crate) fn fill(&self, killed: &mut Victim, killed_boot_ns: u64) {
        let (Ok(reason) | Err(reason)) = self.try_fill(killed, killed_boot_ns);
        killed.missing.push(reason);
    }

    /// Returns the reason for what stays missing.
    fn try_fill(&self, killed: &mut Victim, killed_boot_ns: u64) -> Result<String, String> {
        let victim = &mut killed.process;
        let gone = |error: io::Error| format!("gone before /proc could be read ({})", error.kind());
        let process = self.processes.open(victim.pid).map_err(gone)?;
        let status = process.status().map_err(gone)?;
        let stat = process.stat().map_err(gone)?;
        let is_victim = |ticks| is_victim(ticks, victim.start_boot_ns, killed_boot_ns);
        let Some(stat) = stat.filter(|stat| is_victim(stat.start_ticks)) else {
            return Err(
                "gone before /proc could be read: another process has its number".to_owned(),
            );
        };
        let mut read = read_status(&status);
        // A process that has ended is shown in the root cgroup, and without memory.
        read.cgroup = (!stat.ended).then(|| self.cgroup_of(&process)).flatten();
        read.oom_score_adj = process.read_number("oom_score_adj");
        // Empty once the address space is gone.
        let cmdline = process.read("cmdline", CMDLINE_LEN).ok();
        let cmdline = cmdline.filter(|bytes| !bytes.is_empty());
        read.cmdline = cmdline.map(|bytes| oom_capture::split_arguments(&bytes));
        // What was marked can be a thread: an incident names its process.
        victim.pid = status.number("Tgid").unwrap_or(victim.pid);
        victim.fill_from(read);
        if killed.parent_above.is_none() {
            let parent = || {
                let pid: u32 = status.number("PPid")?;
                let cgroup = self.cgroup_of(&self.processes.open(pid).ok()?)?;
                // As long as it is the parent its pid is its own.
                let again: u32 = process.status().ok()?.number("PPid")?;
                (pid == again).then_some(cgroup)
            };
            let own = victim.cgroup.as_deref();
            let known = own.zip(parent());
            // A whole path and one without its ancestors have nothing in common.
            let is_whole = |path: &str| !path.starts_with("/…");
            let known = known.filter(|(own, parent)| is_whole(own) == is_whole(parent));
            killed.parent_above = known.map(|(own, parent)| levels_above(own, &parent));
        }
        let ended = if stat.ended { ", it had ended" } else { "" };
        Ok(format!("not to be had from /proc{ended}"))
    }

    /// The memory cgroup of an open process, from the hierarchy's root on or, where the namespace's root is
    /// unknown, without the ancestors next to the root.
    fn cgroup_of(&self, process: &ProcessHandle) -> Option<String> {
        Some(self.namespace.display_path(&process.cgroup()?))
    }
}

/// Whether a process that started at `ticks` is the victim, and not one that got its pid later.
fn is_victim(ticks: u64, start_boot_ns: Option<u64>, killed_boot_ns: u64) -> bool {
    match start_boot_ns {
        Some(start_boot_ns) => ticks == start_boot_ns / TICK_NS,
        None => ticks <= killed_boot_ns / TICK_NS,
    }
}

/// How many levels the nearest shared ancestor is above `path`.
fn levels_above(path: &str, other: &str) -> u32 {
    let names = |path: &str| -> Vec<String> {
        let names = path.split('/').filter(|name| !name.is_empty());
        names.map(str::to_owned).collect()
    };
    let (own, others) = (names(path), names(other));
    let shared = own.iter().zip(&others).take_while(|(a, b)| a == b).count();
    u32::try_from(own.len().saturating_sub(shared)).unwrap_or(u32::MAX)
}

fn read_status(status: &ProcessStatus) -> Process {
    let kib = |name: &str| {
        let digits = status.field(name)?.strip_suffix("kB")?.trim_ascii_end();
        digits.parse::<u64>().ok()?.checked_mul(1024)
    };
    let rss = || {
        Some(Rss {
            anon: kib("RssAnon")?,
            file: kib("RssFile")?,
            shmem: kib("RssShmem")?,
        })
    };
    let pids: Vec<u32> = status.numbers("NSpid").collect();
    let (own, outer) = pids.split_last().unzip();
    Process {
        comm: status.field("Name").map(str::to_owned),
        parent_pid: status.number("PPid"),
        namespace_pid: own.copied(),
        namespace_level: outer.and_then(|outer| u32::try_from(outer.len()).ok()),
        uid: status.number("Uid"),
        rss_bytes: rss(),
        ..Process::default()
    }
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
                parent_pid: Some(7),
                namespace_pid: Some(17),
                namespace_level: Some(1),
                ..Process::default()
            }
        );
        killed.note_missing_fields();
        assert_eq!(killed.degraded, ["start_boot_ns: not to be had from /proc"]);
    }

    #[test]
    fn a_zombie_has_no_memory_and_no_command_line_left() {
        let (_root, procfs) = process(&[
            ("status", b"Name:\ttail\nTgid:\t4243\nUid:\t0\t0\t0\t0\n"),
            ("stat", &[b"4243 (tail) Z", &stat()[15..]].concat()),
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
        std::fs::rename(
            procfs.processes.root().join("4243"),
            procfs.processes.root().join("4242"),
        )
        .unwrap();
        let late = "its signal has not reached it in time".to_owned();
        let mut killed = Victim {
            missing: vec![late],
            ..killed(known.clone())
        };
        procfs.fill(&mut killed, KILLED_NS);
        let cmdline = Some(vec!["python3".to_owned()]);
        assert_eq!(killed.process, Process { cmdline, ..known });
        // A field that was filled later is not degraded.
        killed.note_missing_fields();
        assert_eq!(killed.degraded, Vec::<String>::new());
    }

    #[test]
    fn a_named_procfs_is_the_hosts_if_kthreadd_is_its_second_process() {
        let with_second = |stat: &str| {
            let root = tempfile::tempdir().unwrap();
            std::fs::create_dir(root.path().join("2")).unwrap();
            std::fs::write(root.path().join("2/stat"), stat).unwrap();
            Procfs::find_host(Some(root.path())).is_some()
        };
        let second = |name: &str, flags: u32| {
            format!("2 ({name}) S 0 0 0 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 25 0\n")
        };
        assert!(with_second(&second("kthreadd", 2_129_984)));
        assert!(!with_second(&second("kthreadd", 4_194_304)));
        assert!(
            !with_second(&second("a) S 0 0 0 0 -1 2129984", 0)),
            "a process with that name"
        );
        assert!(!with_second("2 (kthreadd) S 0\n"));
        assert!(Procfs::find_host(Some(Path::new("/nowhere"))).is_none());
    }

    #[test]
    fn a_process_that_is_gone_is_noted() {
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
    fn a_reused_pid_is_not_the_victim() {
        let reused = "gone before /proc could be read: another process has its number";
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
            assert_eq!(killed.missing == [reused], !is_it, "{:?}", killed.missing);
            assert_eq!(killed.process == victim, !is_it);
        }
    }

    #[test]
    fn the_distance_to_the_parent_comes_from_both_cgroups() {
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
        // The kernel's path is whole: the distance to the parent is unknown.
        let whole = "/kubepods/pod/c";
        assert_eq!(filled(Some(whole)), (whole.to_owned(), None));
    }
}
