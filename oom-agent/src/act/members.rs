//! Signals to the processes of a cgroup, and to none that is not in it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::post::Process;
use super::process::Processes;
use super::signal::{SendError, Sig};
use crate::pressure::threshold::Scores;

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
    let mut done = Signalled::default();
    let cgroups = with_descendants(dir);
    // The first error is the cgroup's own: it is gone.
    listed(dir)?;
    for cgroup in cgroups {
        for pid in listed(&cgroup).unwrap_or_default() {
            if done.sent.len() + done.failed.len() >= PROCESSES {
                done.cut = true;
                return Ok(done);
            }
            let Ok(held) = processes.open(pid) else {
                continue;
            };
            if whom == Whom::First && held.namespace_pid() != Some(1) {
                continue;
            }
            let Some(meant) = held.identity() else {
                continue;
            };
            // Only now is it known whose number that is: it cannot be another's while the handle's
            // process, which is asked once more before the signal, lives.
            if !listed(&cgroup).is_ok_and(|now| now.contains(&pid)) {
                continue;
            }
            match signal.send(&held, &meant) {
                Ok(()) => done.sent.push(pid),
                Err(SendError::Ended) => {}
                Err(error) => done.failed.push((pid, error)),
            }
        }
    }
    Ok(done)
}

/// Of the cgroup's processes the one that the kernel would rather kill, by its `oom_score`, with its
/// scores. `None` where there is none, or none that can be seen: see [`signal`].
pub fn likeliest(processes: &Processes, dir: &Path) -> Option<(Process, Scores)> {
    let mut best: Option<(u32, Scores)> = None;
    let all = with_descendants(dir).into_iter();
    let pids = all.flat_map(|cgroup| listed(&cgroup).unwrap_or_default());
    for pid in pids.take(PROCESSES) {
        let Some(scores) = processes.open(pid).ok().and_then(|held| held.scores()) else {
            continue;
        };
        if best.is_none_or(|(_, best)| scores.oom_score > best.oom_score) {
            best = Some((pid, scores));
        }
    }
    let (pid, scores) = best?;
    let cmdline = processes.open(pid).ok()?.command();
    Some((Process { pid, cmdline }, scores))
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
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("2147483647").spawn().unwrap()
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
        assert!(process.cmdline.ends_with("sleep"), "{}", process.cmdline);
        for child in [one, two, three] {
            assert_eq!(kill(child), Some(9));
        }
        assert!(likeliest(&Processes::new("/proc"), &dir.path().join("gone")).is_none());
    }

    #[test]
    fn a_cgroup_that_is_gone_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let processes = Processes::new("/proc");
        let gone = signal(&processes, &dir.path().join("gone"), Whom::All, Sig::USR1);
        assert_eq!(gone.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
