//! Signals to the processes of a cgroup, and to none that is not in it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use memcg::{OomScores, ProcessHandle, ProcessIdentity, Processes, read_cgroup_pids};

use super::post::NoticeProcess;
use super::signal::{SendError, Signal};

/// Processes that are signalled at most, and cgroups that are searched: a container may make its own.
const PROCESSES: usize = 1024;
const CGROUPS: usize = 64;

/// Which processes of a container get a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignalTarget {
    /// The container's first process.
    First,
    /// All of its processes.
    All,
}

/// The outcome of a signal to a cgroup.
#[derive(Debug, Default)]
pub(crate) struct Signalled {
    pub(crate) sent: Vec<u32>,
    /// Those that live and did not get it.
    pub(crate) failed: Vec<(u32, SendError)>,
    /// There were more than are signalled at once.
    pub(crate) cut: bool,
}

/// Sends `signal` to processes of the cgroup at `dir`, those of its own cgroups included. `processes`
/// must number them as `cgroup.procs` does, and as this process's PID namespace does: in a container
/// both take hostPID, and the kernel refuses the signal without (`EINVAL`).
pub(crate) fn signal_cgroup(
    processes: &Processes,
    dir: &Path,
    target: SignalTarget,
    signal: Signal,
) -> io::Result<Signalled> {
    // The first error is the cgroup's own: it is gone.
    read_cgroup_pids(dir)?;
    let mut done = Signalled::default();
    let mut members = Vec::new();
    for cgroup in list_with_descendants(dir) {
        let room = PROCESSES.saturating_sub(members.len());
        let pids = read_cgroup_pids(&cgroup).unwrap_or_default();
        done.cut |= pids.len() > room;
        members.extend(open_members(
            processes,
            &cgroup,
            pids.into_iter().take(room),
        ));
    }
    if target == SignalTarget::First {
        members = find_first(members).into_iter().collect();
    }
    for (process, expected) in members {
        match signal.send(&process, &expected) {
            Ok(()) => done.sent.push(expected.pid),
            Err(SendError::Ended) => {}
            Err(error) => done.failed.push((expected.pid, error)),
        }
    }
    Ok(done)
}

type Member = (ProcessHandle, ProcessIdentity);

/// Handles of the processes in the cgroup. A pid is read first and opened then, so it is compared with the
/// cgroup once more: while the handle's process lives, no other has its pid.
fn open_members(
    processes: &Processes,
    cgroup: &Path,
    pids: impl Iterator<Item = u32>,
) -> Vec<Member> {
    let open = |pid| {
        let process = processes.open(pid).ok()?;
        let identity = process.identity()?;
        Some((process, identity))
    };
    let mut all: Vec<Member> = pids.filter_map(open).collect();
    let now = read_cgroup_pids(cgroup).unwrap_or_default();
    all.retain(|(_, identity)| now.contains(&identity.pid));
    all
}

/// The first of the container's own PID namespace, whose parent is outside: a container that runs containers
/// has more within.
fn find_first(all: Vec<Member>) -> Option<Member> {
    let members: BTreeSet<u32> = all.iter().map(|(_, identity)| identity.pid).collect();
    let depth = |member: Member| {
        let status = member.0.status().ok()?;
        let pids: Vec<u32> = status.numbers("NSpid").collect();
        let parent: u32 = status.number("PPid")?;
        let within = members.contains(&parent);
        (pids.last() == Some(&1) && !within).then_some((pids.len(), member))
    };
    let firsts = all.into_iter().filter_map(depth);
    Some(firsts.min_by_key(|(depth, _)| *depth)?.1)
}

/// The process of the cgroup with the highest `oom_score`, which the kernel would kill first, with its scores.
/// `None` where there is none, or none in this PID namespace: see [`signal_cgroup`].
pub(crate) fn find_likeliest_victim(
    processes: &Processes,
    dir: &Path,
) -> Option<(NoticeProcess, OomScores)> {
    let (pid, process, scores) = find_worst(processes, dir)?;
    let cmdline = process.command();
    Some((NoticeProcess { pid, cmdline }, scores))
}

/// Its scores alone: to read its command waits for its memory's lock, which a process in reclaim holds for long.
pub(crate) fn read_worst_scores(processes: &Processes, dir: &Path) -> Option<OomScores> {
    find_worst(processes, dir).map(|(_, _, scores)| scores)
}

fn find_worst(processes: &Processes, dir: &Path) -> Option<(u32, ProcessHandle, OomScores)> {
    let mut best: Option<(u32, ProcessHandle, OomScores)> = None;
    let all = list_with_descendants(dir).into_iter();
    let pids = all.flat_map(|cgroup| read_cgroup_pids(&cgroup).unwrap_or_default());
    for pid in pids.take(PROCESSES) {
        let Ok(process) = processes.open(pid) else {
            continue;
        };
        let Some(scores) = process.oom_scores() else {
            continue;
        };
        let worst = best.as_ref().map(|(_, _, worst)| worst.oom_score);
        if worst.is_none_or(|worst| scores.oom_score > worst) {
            best = Some((pid, process, scores));
        }
    }
    best
}

fn list_with_descendants(dir: &Path) -> Vec<PathBuf> {
    let mut all = vec![dir.to_owned()];
    let mut next = 0;
    while let Some(cgroup) = all.get(next).cloned() {
        next += 1;
        let below = fs::read_dir(&cgroup).into_iter().flatten().flatten();
        let below = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let room = CGROUPS.saturating_sub(all.len());
        all.extend(below.map(|entry| entry.path()).take(room));
    }
    all
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn sleeper() -> Child {
        let mut sleep = Command::new("sleep");
        sleep.arg("2147483647").stdout(Stdio::null());
        sleep.spawn().unwrap()
    }

    /// A directory that lists them as a cgroup does.
    fn cgroup(dir: &Path, pids: &[u32]) {
        fs::create_dir_all(dir).unwrap();
        let lines: Vec<String> = pids.iter().map(u32::to_string).collect();
        fs::write(dir.join("cgroup.procs"), lines.join("\n")).unwrap();
    }

    fn kill(mut child: Child) -> Option<i32> {
        child.kill().unwrap();
        child.wait().unwrap().signal()
    }

    #[test]
    fn every_process_of_the_cgroup_and_below_is_signalled_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let [mut one, mut two, other] = [sleeper(), sleeper(), sleeper()];
        // 0 is a process of another PID namespace; no process has the last pid.
        cgroup(dir.path(), &[0, one.id(), u32::MAX]);
        cgroup(&dir.path().join("a/b"), &[two.id()]);
        cgroup(&dir.path().join("a"), &[]);
        let processes = Processes::new("/proc");
        let done = signal_cgroup(&processes, dir.path(), SignalTarget::All, Signal::USR2).unwrap();
        assert_eq!(done.sent, [one.id(), two.id()]);
        assert!(done.failed.is_empty() && !done.cut);
        assert_eq!(one.wait().unwrap().signal(), Some(12));
        assert_eq!(two.wait().unwrap().signal(), Some(12));
        assert_eq!(kill(other), Some(9));
    }

    #[test]
    fn the_first_process_is_pid_1_of_its_namespace() {
        let dir = tempfile::tempdir().unwrap();
        let child = sleeper();
        cgroup(dir.path(), &[child.id()]);
        let processes = Processes::new("/proc");
        let done =
            signal_cgroup(&processes, dir.path(), SignalTarget::First, Signal::USR1).unwrap();
        // This test's processes are no container's.
        assert_eq!(done.sent, [0_u32; 0]);
        assert_eq!(kill(child), Some(9));
    }

    #[test]
    fn the_likeliest_victim_has_the_highest_score() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two, three] = [sleeper(), sleeper(), sleeper()];
        let score = |child: &Child, adj| {
            fs::write(format!("/proc/{}/oom_score_adj", child.id()), adj).unwrap();
        };
        score(&one, "100");
        score(&two, "900");
        score(&three, "500");
        cgroup(dir.path(), &[one.id(), three.id()]);
        cgroup(&dir.path().join("below"), &[two.id()]);
        let (process, scores) =
            find_likeliest_victim(&Processes::new("/proc"), dir.path()).unwrap();
        assert_eq!((process.pid, scores.oom_score_adj), (two.id(), 900));
        // It may not have come as far as having a command line.
        assert!(!process.cmdline.contains("2147483647"), "no argument");
        for child in [one, two, three] {
            assert_eq!(kill(child), Some(9));
        }
        assert!(
            find_likeliest_victim(&Processes::new("/proc"), &dir.path().join("gone")).is_none()
        );
    }

    /// `unshare` runs its program as the first of a PID namespace.
    fn unshared(script: &str) -> Child {
        let mut unshare = Command::new("unshare");
        // In a user namespace, too, so that it takes no root.
        let namespaces = ["--map-root-user", "--pid", "--fork", "--kill-child"];
        unshare.args(namespaces).args(["sh", "-c", script]);
        // Processes left by a failed test hold no output open.
        unshare.stdout(Stdio::null()).stderr(Stdio::null());
        unshare.spawn().unwrap()
    }

    fn child_of(pid: u32) -> u32 {
        let children = format!("/proc/{pid}/task/{pid}/children");
        let child = || {
            let text = fs::read_to_string(&children).ok()?;
            text.split_whitespace().next()?.parse().ok()
        };
        std::iter::repeat_with(child).flatten().next().unwrap()
    }

    #[test]
    fn of_several_first_processes_the_outermost_is_signalled() {
        let dir = tempfile::tempdir().unwrap();
        let nested = "unshare --pid --fork --kill-child sleep 2147483647";
        let mut outer = unshared(&format!("trap 'exit 3' USR1; {nested} & wait"));
        let first = child_of(outer.id());
        let inner = child_of(child_of(first));
        cgroup(dir.path(), &[inner, first]);
        let done = signal_cgroup(
            &Processes::new("/proc"),
            dir.path(),
            SignalTarget::First,
            Signal::USR1,
        )
        .unwrap();
        assert_eq!(done.sent, [first]);
        assert_eq!(outer.wait().unwrap().code(), Some(3));
    }

    #[test]
    fn the_first_process_of_a_namespace_within_is_not_the_containers() {
        let dir = tempfile::tempdir().unwrap();
        let mut unshare = unshared("exec sleep 2147483647");
        let within = child_of(unshare.id());
        // As in a container that shares the host's namespace: its first process is not PID 1.
        cgroup(dir.path(), &[unshare.id(), within]);
        let done = signal_cgroup(
            &Processes::new("/proc"),
            dir.path(),
            SignalTarget::First,
            Signal::USR1,
        )
        .unwrap();
        assert_eq!(done.sent, [0_u32; 0]);
        // Its parent may have been killed before `--kill-child` took effect.
        let within = rustix::process::Pid::from_raw(within.cast_signed()).unwrap();
        rustix::process::kill_process(within, rustix::process::Signal::KILL).unwrap();
        unshare.wait().unwrap();
    }

    #[test]
    fn a_cgroup_that_is_gone_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let processes = Processes::new("/proc");
        let gone = signal_cgroup(
            &processes,
            &dir.path().join("gone"),
            SignalTarget::All,
            Signal::USR1,
        );
        assert_eq!(gone.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
