//! Kills in numbers: a shell forks subshells that eat until they are killed, one after another.
//! Nothing is executed for them, and each notes its pid first.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::{Cgroup, Containerd, Pod, Sandbox, interrupt, oom_kills_in, wait};
use tempfile::TempDir;
use xtask::process::{Guard, run};

use super::compare::Kill;

/// Each victim is alone in its cgroup, and the smaller it is the sooner it is full.
const PLAIN_LIMIT: u64 = 512 << 10;
/// A container's shell and those that are not wholly gone yet lie under its limit, too.
const CONTAINER_LIMIT: u64 = 16 << 20;
/// Between two checks for its stop.
const TICK: Duration = Duration::from_millis(500);

/// How many kills, and how fast.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// It stops by itself after that many.
    pub(super) kills: u32,
    /// From the end of one victim to the start of the next, in steps of half a second.
    pub(super) pause: Duration,
}

/// A shell that has victims killed. Dropping it ends it, or its containerd does.
#[derive(Debug)]
pub(super) struct KillGenerator {
    /// What it writes and reads, as this host sees it.
    dir: PathBuf,
    /// A named pipe that it opens before its first victim.
    gate: PathBuf,
    cgroup: String,
    // First the shell: what it forked last then finds no cgroup to enter and ends.
    _plain: Option<(Guard, Cgroup, TempDir)>,
}

/// In a container: its own, and in memory.
const SHM: &str = "/dev/shm";
const KILLS: &str = "kills";
const STOP: &str = "stop";
const DONE: &str = "done";

impl KillGenerator {
    /// In a cgroup of its own; waits at its gate.
    pub(super) fn plain(plan: Plan) -> Result<Self> {
        let cgroup = Cgroup::new(PLAIN_LIMIT)?;
        let dir = tempfile::tempdir().context("make a directory for a kill generator")?;
        let gate = dir.path().join("gate");
        run(Command::new("mkfifo").arg(&gate))?;
        let script = script(plan, dir.path(), Some(&cgroup.procs()));
        let script = format!("read _ < {}; {script}", gate.display());
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(Self {
            dir: dir.path().to_owned(),
            gate,
            cgroup: cgroup.path().to_owned(),
            _plain: Some((Guard::spawn(&mut shell, Duration::ZERO)?, cgroup, dir)),
        })
    }

    /// In a container; waits at its gate.
    pub(super) fn contained(containerd: &Containerd, pod: &Pod, plan: Plan) -> Result<Self> {
        let script = format!("{}; exec sleep 86400", script(plan, Path::new(SHM), None));
        let container =
            Sandbox::run(containerd, pod)?.run_gated("main", CONTAINER_LIMIT, &script)?;
        let root = format!("/proc/{}/root", container.pid);
        Ok(Self {
            dir: format!("{root}{SHM}").into(),
            gate: format!("{root}/gate").into(),
            cgroup: container.cgroup,
            _plain: None,
        })
    }

    pub(super) fn open_gate(&self) -> Result<()> {
        let gate = File::options().write(true).open(&self.gate);
        gate.with_context(|| format!("open {}", self.gate.display()))?;
        Ok(())
    }

    /// Has it stop after the victim at hand.
    pub(super) fn stop(&self) -> Result<()> {
        let stop = self.dir.join(STOP);
        File::create(&stop).with_context(|| format!("make {}", stop.display()))?;
        Ok(())
    }

    pub(super) fn is_done(&self) -> bool {
        self.dir.join(DONE).exists()
    }

    /// Waits for its end.
    pub(super) fn finish(&self, within: Duration) -> Result<()> {
        wait::until("the end of a kill generator", within, || {
            (self.is_done() || interrupt::check().is_err()).then_some(())
        })?;
        interrupt::check()
    }

    /// Its kills. Fails unless the kernel counted as many.
    pub(super) fn kills(&self) -> Result<Vec<Kill>> {
        let path = self.dir.join(KILLS);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let notes = text.lines().map(|line| parse_note(line, &self.cgroup));
        let all: Option<Vec<Kill>> = notes.collect();
        let all = all.with_context(|| format!("read {}", path.display()))?;
        let counted = oom_kills_in(&self.cgroup)?;
        ensure!(
            counted == all.len() as u64,
            "{} processes were to be OOM-killed in {}, and the kernel counts {counted}",
            all.len(),
            self.cgroup
        );
        Ok(all)
    }
}

/// The kills of all of them.
pub(super) fn all_kills(generators: &[KillGenerator]) -> Result<Vec<Kill>> {
    let all = generators.iter().map(KillGenerator::kills);
    Ok(all.collect::<Result<Vec<_>>>()?.concat())
}

/// For any POSIX shell. What is written is written before the victim enters its cgroup, or to a file
/// system in memory: a dirty page there has the kernel wait for a disk before it kills. `proc_pid_stat(5)` begins with the reader's own pid, `proc_uptime(5)` with
/// the seconds since boot; a subshell's `$$` is its parent's.
fn script(plan: Plan, dir: &Path, enter: Option<&Path>) -> String {
    let file = |name: &str| dir.join(name).display().to_string();
    let (kills, stop, done) = (file(KILLS), file(STOP), file(DONE));
    let enter = match enter {
        // One that cannot enter must not eat.
        Some(procs) => format!("echo 0 > {} || exit", procs.display()),
        None => "echo 1000 > /proc/self/oom_score_adj || exit".to_owned(),
    };
    let ticks = plan.pause.as_millis() / TICK.as_millis();
    let pause = if ticks == 0 {
        String::new()
    } else {
        format!("t=0; while [ $t -lt {ticks} ] && [ ! -e {stop} ]; do sleep 0.5; t=$((t+1)); done;")
    };
    let count = plan.kills;
    format!(
        "n=0; while [ $n -lt {count} ] && [ ! -e {stop} ]; do \
         ( read up _ < /proc/uptime; read pid _ < /proc/self/stat; echo $pid $up >> {kills}; \
         {enter}; x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done ); \
         n=$((n+1)); {pause} done; : > {done}"
    )
}

/// `42 123.45`
fn parse_note(line: &str, cgroup: &str) -> Option<Kill> {
    let (pid, up) = line.split_once(' ')?;
    let (seconds, hundredths) = up.split_once('.')?;
    let seconds: u64 = seconds.parse().ok()?;
    let hundredths: u64 = hundredths.parse().ok()?;
    Some(Kill {
        cgroup: cgroup.to_owned(),
        pid: pid.parse().ok()?,
        at_ms: seconds
            .checked_mul(1000)?
            .checked_add(hundredths.checked_mul(10)?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_victims_note_is_parsed() {
        let kill = parse_note("42 123.45", "/a").unwrap();
        assert_eq!((kill.pid, kill.at_ms), (42, 123_450));
        assert_eq!(parse_note("42", "/a"), None);
    }

    #[test]
    fn a_victim_that_cannot_enter_its_cgroup_eats_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan {
            kills: 2,
            pause: Duration::ZERO,
        };
        let script = script(
            plan,
            dir.path(),
            Some(Path::new("/nonexistent/cgroup.procs")),
        );
        xtask::process::capture(Command::new("/bin/sh").args(["-c", &script])).unwrap();
        assert!(dir.path().join(DONE).exists());
    }
}
