//! Processes that are there to be killed.

use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lab::{Cgroup, interrupt};
use rustix::process::Signal;
use rustix::time::ClockId;
use xtask::process::{Guard, show, wait_timeout};

use super::clock::now_ns;

/// Of each victim's cgroup. Large enough for the program itself.
const LIMIT_MIB: u64 = 24;
/// What it tries to touch.
const WANTS_MIB: &str = "64";
/// How long the kernel may take to run one into its limit and kill it.
const KILL: Duration = Duration::from_secs(30);

/// Makes them, each under a name of its own.
#[derive(Debug)]
pub(super) struct Victims {
    program: PathBuf,
    names: tempfile::TempDir,
}

/// A kill, as its cause knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kill {
    pub(super) pid: u32,
    pub(super) comm: String,
    pub(super) cmdline: Vec<String>,
    pub(super) cgroup: String,
    pub(super) limit_bytes: u64,
    /// Before it was started: lines from before that with its pid are of another process.
    pub(super) begun_ns: u64,
}

impl Victims {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            program: std::env::current_exe().context("find this program")?,
            names: tempfile::tempdir().context("make a directory for the victims' names")?,
        })
    }

    /// Runs a small process into the limit of a fresh cgroup, and returns once it is dead. The
    /// cgroup is kept for the reports of it.
    pub(super) fn kill(&self, name: &str) -> Result<(Kill, Cgroup)> {
        let path = self.names.path().join(name);
        symlink(&self.program, &path).with_context(|| format!("link {}", path.display()))?;
        let args = ["hog", "--mib", WANTS_MIB];
        let cgroup = Cgroup::new(LIMIT_MIB << 20)?;
        let mut command = cgroup.command(&path);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let begun_ns = now_ns(ClockId::Monotonic);
        let mut child = Guard::spawn(&mut command, Duration::ZERO)?;
        let ended = wait_timeout(&mut child, KILL)?;
        // Ctrl-C on a terminal ends the victim too.
        interrupt::check()?;
        match ended {
            Some(status) if status.signal() == Some(Signal::KILL.as_raw()) => {}
            Some(status) => bail!("{} was to be OOM-killed: {status}", show(&command)),
            None => bail!("{} was not OOM-killed within {KILL:?}", show(&command)),
        }
        let mut cmdline = vec![path.to_string_lossy().into_owned()];
        cmdline.extend(args.map(str::to_owned));
        let kill = Kill {
            pid: child.id(),
            comm: name.to_owned(),
            cmdline,
            cgroup: cgroup.path().to_owned(),
            limit_bytes: LIMIT_MIB << 20,
            begun_ns,
        };
        Ok((kill, cgroup))
    }
}
