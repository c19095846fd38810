//! Running commands: with what was attempted in every error, and a bound where
//! one is due.

use std::ffi::OsStr;
use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// A child that is stopped when this is dropped: by SIGTERM, and by SIGKILL once its grace has passed.
#[derive(Debug)]
pub struct Guard {
    child: Child,
    grace: Duration,
}

/// Runs to the end; a failure is an error that names the command.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("start {}", show(command)))?;
    if !status.success() {
        bail!("{}: {status}", show(command));
    }
    Ok(())
}

/// A command that `timeout` of coreutils ends after `limit`, for what uses a network that may swallow packets.
pub(crate) fn bounded(limit: Duration, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    // In the foreground, so that Ctrl-C reaches the program, too.
    command.args(["--foreground", "--kill-after=5"]);
    command.arg(limit.as_secs().to_string()).arg(program);
    command
}

/// Runs to the end and returns standard output; standard error goes into the
/// error of a failure. Standard input is empty where the command names none.
pub fn capture(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("start {}", show(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}: {}", show(command), output.status, stderr.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits for the child's end without reaping it twice: `None` when `limit`
/// passed first. Asleep in the kernel meanwhile, by its pidfd (Linux 5.3).
pub fn wait_timeout(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).context("open a pidfd")?;
    loop {
        if let Some(status) = child.try_wait().context("wait for a child")? {
            return Ok(Some(status));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let timeout = Timespec::try_from(left).context("a time limit that fits")?;
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("poll a pidfd"),
        }
    }
}

// === impl Guard ===

impl Guard {
    /// Starts a command.
    pub fn spawn(command: &mut Command, grace: Duration) -> Result<Self> {
        let child = command.spawn();
        let child = child.with_context(|| format!("start {}", show(command)))?;
        Ok(Self { child, grace })
    }
}

impl Deref for Guard {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.child
    }
}

impl DerefMut for Guard {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        stop(&mut self.child, self.grace);
    }
}

/// Ends a child: SIGTERM, then SIGKILL once `grace` has passed; reaps it.
pub fn stop(child: &mut Child, grace: Duration) {
    if matches!(child.try_wait(), Ok(None)) {
        let _ = kill_process(Pid::from_child(child), Signal::TERM);
        if !matches!(wait_timeout(child, grace), Ok(Some(_))) {
            let _ = child.kill();
        }
    }
    let _ = child.wait();
}

/// Whether a program of this name is on `PATH`, and where.
pub fn which(name: &str) -> Option<std::path::PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|dir| dir.join(name))
        .find(|path| {
            rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file()
        })
}

/// Whether this process may do everything on this host.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The command as one would type it.
pub fn show(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}
