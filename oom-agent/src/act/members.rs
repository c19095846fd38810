//! Signals to the processes of a cgroup, and to none that is not in it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use memcg::{OomScores, ProcessHandle, ProcessIdentity, Processes};

use super::post::Process;
use super::signal::{SendError, Sig};

/// Processes that are signalled at most, and cgroups that are looked into: a container may make its own.
const PROCESSES: usize = 1024;
const CGROUPS: usize = 64;

/// Whom a container's signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The container's first process.
    First,
    /// All of its processes.
    All,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Signalled {
    /// Who got it.
    pub sent: Vec<u32>,
    /// Who did not, though it was there.
    pub failed: Vec<(u32, SendError)>,
    /// There were more than are signalled at once.
    pub cut: bool,
}

/// Sends `signal` to processes of the cgroup at `dir`, those of its own cgroups included. `processes`
/// must number them as `cgroup.procs` does, and as this process's PID namespace does: in a container
/// both take hostPID, and the kernel refuses the signal without (`EINVAL`).
pub fn signal(processes: &Processes, dir: &Path, whom: Whom, signal: Sig) -> io::Result<Signalled> {
    // The first error is the cgroup's own: it is gone.
    listed(dir)?;
    let mut done = Signalled::default();
    let mut held = Vec::new();
    for cgroup in with_descendants(dir) {
        let room = PROCESSES.saturating_sub(held.len());
        let pids = listed(&cgroup).unwrap_or_default();
        done.cut |= pids.len() > room;
        held.extend(opened(processes, &cgroup, pids.into_iter().take(room)));
    }
    if whom == Whom::First {
        held = first(held).into_iter().collect();
    }
    for (pid, held, meant) in held {
        match signal.send(&held, &meant) {
            Ok(()) => done.sent.push(pid),
            Err(SendError::Ended) => {}
            Err(error) => done.failed.push((pid, error)),
        }
    }
    Ok(done)
}

type Member = (u32, ProcessHandle, ProcessIdentity);

/// Handles of those that are in the cgroup. Whose number that is, is known only after it was opened:
/// it cannot be another's while the handle's process, which is asked once more before the signal, lives.
fn opened(processes: &Processes, cgroup: &Path, pids: impl Iterator<Item = u32>) -> Vec<Member> {
    let open = |pid| {
        let held = processes.open(pid).ok()?;
        let meant = held.identity()?;
        Some((pid, held, meant))
    };
    let mut all: Vec<Member> = pids.filter_map(open).collect();
    let now = listed(cgroup).unwrap_or_default();
    all.retain(|(pid, ..)| now.contains(pid));
    all
}

/// The first of the container's own PID namespace, whose parent is outside: what runs containers itself
/// has more within.
fn first(all: Vec<Member>) -> Option<Member> {
    let members: BTreeSet<u32> = all.iter().map(|(pid, ..)| *pid).collect();
    let depth = |member: Member| {
        let status = member.1.status().ok()?;
        let pids: Vec<u32> = status.numbers("NSpid").collect();
        let parent: u32 = status.number("PPid")?;
        let within = members.contains(&parent);
        (pids.last() == Some(&1) && !within).then_some((pids.len(), member))
    };
    let firsts = all.into_iter().filter_map(depth);
    Some(firsts.min_by_key(|(depth, _)| *depth)?.1)
}

/// Of the cgroup's processes the one that the kernel would rather kill, by its `oom_score`, with its
/// scores. `None` where there is none, or none that can be seen: see [`signal`].
pub fn likeliest(processes: &Processes, dir: &Path) -> Option<(Process, OomScores)> {
    let (pid, held, scores) = worst_held(processes, dir)?;
    let cmdline = held.command();
    Some((Process { pid, cmdline }, scores))
}

/// The same without its command, which waits for its memory's lock: a process in reclaim has that for long.
pub fn worst(processes: &Processes, dir: &Path) -> Option<(u32, OomScores)> {
    worst_held(processes, dir).map(|(pid, _, scores)| (pid, scores))
}

fn worst_held(processes: &Processes, dir: &Path) -> Option<(u32, ProcessHandle, OomScores)> {
    let mut best: Option<(u32, ProcessHandle, OomScores)> = None;
    let all = with_descendants(dir).into_iter();
    let pids = all.flat_map(|cgroup| listed(&cgroup).unwrap_or_default());
    for pid in pids.take(PROCESSES) {
        let Ok(held) = processes.open(pid) else {
            continue;
        };
        let Some(scores) = held.oom_scores() else {
            continue;
        };
        let worst = best.as_ref().map(|(_, _, worst)| worst.oom_score);
        if worst.is_none_or(|worst| scores.oom_score > worst) {
            best = Some((pid, held, scores));
        }
    }
    best
}

/// Processes of another PID namespace than the mount's are 0.
fn listed(cgroup: &Path) -> io::Result<BTreeSet<u32>> {
    let text = fs::read_to_string(cgroup.join("cgroup.procs"))?;
    let pids = text.lines().filter_map(|pid| pid.parse().ok());
    Ok(pids.filter(|pid| *pid != 0).collect())
}

fn with_descendants(dir: &Path) -> Vec<PathBuf> {
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
    fn every_process_of_the_cgroup_and_of_its_own_gets_it_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let [mut one, mut two, other] = [sleeper(), sleeper(), sleeper()];
        // 0 is somebody of another PID namespace; nobody has the last number.
        cgroup(dir.path(), &[0, one.id(), u32::MAX]);
        cgroup(&dir.path().join("a/b"), &[two.id()]);
        cgroup(&dir.path().join("a"), &[]);
        let processes = Processes::new("/proc");
        let done = signal(&processes, dir.path(), Whom::All, Sig::USR2).unwrap();
        assert_eq!(done.sent, [one.id(), two.id()]);
        assert!(done.failed.is_empty() && !done.cut);
        assert_eq!(one.wait().unwrap().signal(), Some(12));
        assert_eq!(two.wait().unwrap().signal(), Some(12));
        assert_eq!(kill(other), Some(9));
    }

    #[test]
    fn the_first_process_is_the_one_that_its_namespace_calls_1() {
        let dir = tempfile::tempdir().unwrap();
        let child = sleeper();
        cgroup(dir.path(), &[child.id()]);
        let processes = Processes::new("/proc");
        let done = signal(&processes, dir.path(), Whom::First, Sig::USR1).unwrap();
        // This test's processes are no container's.
        assert_eq!(done.sent, [0_u32; 0]);
        assert_eq!(kill(child), Some(9));
    }

    #[test]
    fn the_likeliest_is_the_one_with_the_highest_score() {
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
        let (process, scores) = likeliest(&Processes::new("/proc"), dir.path()).unwrap();
        assert_eq!((process.pid, scores.oom_score_adj), (two.id(), 900));
        // It may not have come as far as having a command line.
        assert!(!process.cmdline.contains("2147483647"), "no argument");
        for child in [one, two, three] {
            assert_eq!(kill(child), Some(9));
        }
        assert!(likeliest(&Processes::new("/proc"), &dir.path().join("gone")).is_none());
    }

    /// `unshare` runs its program as the first of a PID namespace.
    fn unshared(script: &str) -> Child {
        let mut unshare = Command::new("unshare");
        // In a user namespace, too, so that it takes no root.
        let namespaces = ["--map-root-user", "--pid", "--fork", "--kill-child"];
        unshare.args(namespaces).args(["sh", "-c", script]);
        // What is left of a failed test holds nobody's output.
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
    fn of_several_first_ones_it_is_the_outermost() {
        let dir = tempfile::tempdir().unwrap();
        let nested = "unshare --pid --fork --kill-child sleep 2147483647";
        let mut outer = unshared(&format!("trap 'exit 3' USR1; {nested} & wait"));
        let first = child_of(outer.id());
        let inner = child_of(child_of(first));
        cgroup(dir.path(), &[inner, first]);
        let done = signal(&Processes::new("/proc"), dir.path(), Whom::First, Sig::USR1).unwrap();
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
        let done = signal(&Processes::new("/proc"), dir.path(), Whom::First, Sig::USR1).unwrap();
        assert_eq!(done.sent, [0_u32; 0]);
        // Its parent may have been killed before it asked to be killed with it.
        let within = rustix::process::Pid::from_raw(within.cast_signed()).unwrap();
        rustix::process::kill_process(within, rustix::process::Signal::KILL).unwrap();
        unshare.wait().unwrap();
    }

    #[test]
    fn a_cgroup_that_is_gone_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let processes = Processes::new("/proc");
        let gone = signal(&processes, &dir.path().join("gone"), Whom::All, Sig::USR1);
        assert_eq!(gone.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
