//! `oom-agent watch-pods`, as a child process.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use xtask::process::{Guard, stop};

use crate::agent::{find_message, spawn};
use crate::output::Output;
use crate::wait::HANG;

/// Longer than it gives itself.
const GRACE: Duration = Duration::from_secs(15);

/// A running `oom-agent watch-pods`. Dropping it ends it.
#[derive(Debug)]
pub struct Controller {
    child: Guard,
    /// Standard output: incidents.
    pub incidents: Output,
    /// Standard error: the log.
    pub log: Output,
}

impl Controller {
    /// Starts it and waits until it knows its API server.
    pub fn start<S: AsRef<OsStr>>(binary: &Path, kubeconfig: &Path, args: &[S]) -> Result<Self> {
        let mut command = Command::new(binary);
        command
            .args(["watch-pods", "--output", "json", "--log-format", "json"])
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(args);
        let (child, incidents, log) = spawn("oom-agent watch-pods", &mut command, GRACE)?;
        let mut controller = Self {
            child,
            incidents,
            log,
        };
        controller.find_message("Kubernetes API server", HANG)?;
        Ok(controller)
    }

    /// Waits for a message that contains `text`, within `limit`.
    pub fn find_message(&mut self, text: &str, limit: Duration) -> Result<()> {
        find_message(&mut self.log, text, limit)
    }

    /// Has it stand still, by SIGSTOP, as one whose node is frozen or cut off.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on, after [`Controller::freeze`].
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Sends SIGTERM and waits for its end.
    pub fn end(&mut self) {
        stop(&mut self.child, GRACE);
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("send {signal:?} to oom-agent watch-pods"))
    }
}
