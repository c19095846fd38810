//! A server process with its log in a file.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use xtask::process::{Guard, stop};

use crate::wait::{self, HANG};

const GRACE: Duration = Duration::from_secs(10);

/// How many lines of a log an error shows.
const LOG_LINES: usize = 20;

/// Ends when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Guard,
    log: PathBuf,
}

impl Server {
    /// Starts it in the directory `dir`, where its log is `name.log`.
    pub(crate) fn start(name: &str, command: &mut Command, dir: &Path) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("make {}", log.display()))?;
        command
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("share a log file")?)
            .stderr(file);
        let child = Guard::spawn(command, GRACE)?;
        Ok(Self { child, log })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash does, by SIGKILL.
    pub(crate) fn crash(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ends it now.
    pub(crate) fn end(&mut self) {
        stop(&mut self.child, GRACE);
    }

    /// Waits until `probe` finds it ready, or broken; an error shows the end of its log.
    pub(crate) fn wait_until_ready(
        &mut self,
        mut probe: impl FnMut() -> Option<Result<()>>,
    ) -> Result<()> {
        let ready = wait::until("its readiness", HANG, || {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return Some(Err(anyhow!("it ended")));
            }
            probe()
        });
        ready.flatten().with_context(|| {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let from = lines.len().saturating_sub(LOG_LINES);
            let end = lines.get(from..).unwrap_or_default().join("\n");
            format!("{}:\n{end}", self.log.display())
        })
    }
}
