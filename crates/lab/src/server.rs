//! A server process.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use xtask::process::{Guard, stop};

use crate::output::Output;
use crate::wait::{self, HANG};

const GRACE: Duration = Duration::from_secs(10);

/// Ends when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Guard,
    pub(crate) log: Output,
}

impl Server {
    /// Starts it in the directory `dir`.
    pub(crate) fn start(name: &'static str, command: &mut Command, dir: &Path) -> Result<Self> {
        command
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = Guard::spawn(command, GRACE)?;
        let log = child.stderr.take().context("a piped standard error")?;
        let log = Output::new(name, log);
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
        ready.flatten().with_context(|| self.log.tail())
    }
}
