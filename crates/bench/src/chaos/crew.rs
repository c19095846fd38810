//! Agents, one after another.

use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::{Admin, Agent, field, message};
use rustix::time::{ClockId, clock_gettime};
use xtask::process::capture;
use xtask::say;

use super::lives::Life;
use crate::compare::Told;
use crate::site::Site;

/// For the last lines of an agent that is gone.
const REST: Duration = Duration::from_secs(10);

/// The agent at work, and those that were.
#[derive(Debug)]
pub(super) struct Crew {
    agent: Option<(Agent, Life)>,
    pub(super) lives: Vec<Life>,
    pub(super) keeps: Keeps,
}

/// What an agent may leave to the next one.
#[derive(Debug)]
pub(super) struct Keeps {
    /// Records of the kernel's that no agent has read.
    pub(super) pin: Option<Bpffs>,
    /// Events and bonks that are owed.
    pub(super) state: Option<tempfile::TempDir>,
}

/// A BPF file system of this process's own. Dropping it detaches what is pinned there.
#[derive(Debug)]
pub(super) struct Bpffs(tempfile::TempDir);

/// How an agent is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Term,
    Kill,
}

// === impl Bpffs ===

impl Bpffs {
    fn mount() -> Result<Self> {
        let dir = tempfile::tempdir().context("make a directory for pins")?;
        capture(
            Command::new("mount")
                .args(["-t", "bpf", "bpf"])
                .arg(dir.path()),
        )?;
        Ok(Self(dir))
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        // Its pins go with it.
        let mut umount = Command::new("umount");
        if let Err(error) = capture(umount.arg("--lazy").arg(self.0.path())) {
            say::error(&error);
        }
    }
}

// === impl Keeps ===

impl Keeps {
    /// As much as this agent knows.
    pub(super) fn of(site: &Site) -> Result<Self> {
        let pin = site.agent_has("--pin")?;
        let state = site.agent_has("--state")?;
        let dir = || tempfile::tempdir().context("make a directory for an agent's state");
        Ok(Self {
            pin: pin.then(Bpffs::mount).transpose()?,
            state: state.then(dir).transpose()?,
        })
    }

    fn args(&self) -> Vec<OsString> {
        let mut args = Vec::new();
        if let Some(pin) = &self.pin {
            args.extend(["--pin".into(), pin.0.path().join("oom-agent").into()]);
        }
        if let Some(state) = &self.state {
            args.extend(["--state".into(), state.path().into()]);
        }
        args
    }
}

// === impl Crew ===

impl Crew {
    pub(super) fn new(keeps: Keeps) -> Self {
        Self {
            agent: None,
            lives: Vec::new(),
            keeps,
        }
    }

    /// Starts the next agent.
    pub(super) fn start(&mut self, site: &Site) -> Result<()> {
        let begun_ms = boot_ms();
        let args = self.keeps.args();
        let args: Vec<_> = args.iter().map(OsString::as_os_str).collect();
        let agent = site.agent(&args)?;
        let life = Life {
            begun_ms,
            attached_ms: boot_ms(),
            ..Life::default()
        };
        self.agent = Some((agent, life));
        Ok(())
    }

    /// The agent's admin port.
    pub(super) fn admin(&mut self) -> Result<Admin> {
        let (agent, _) = self.agent.as_mut().context("an agent at work")?;
        Admin::of_agent(agent)
    }

    /// Ends the agent and keeps what it told.
    pub(super) fn end(&mut self, how: End) -> Result<()> {
        let (mut agent, mut life) = self.agent.take().context("an agent at work")?;
        life.struck_ms = boot_ms();
        match how {
            End::Term => agent.end(),
            End::Kill => agent.crash(),
        }
        life.gone_ms = boot_ms();
        // Each ends with the stream: there is nothing to be found.
        let _ended = agent.incidents.find("its end", REST, |line| {
            match Told::parse(line) {
                Some(told) => life.told.push(told),
                None => life.torn = life.torn.saturating_add(1),
            }
            None::<()>
        });
        let _ended = agent.log.find("its end", REST, |line| {
            life.answered.extend(answer(line));
            None::<()>
        });
        self.lives.push(life);
        Ok(())
    }
}

/// The bonker's answer to a bonk, as the agent logs it: whose, and which.
fn answer(line: &str) -> Option<(String, String)> {
    let message = message(line)?;
    matches!(message.as_str(), "bonk acknowledged" | "bonk not taken")
        .then(|| Some((field(line, "incident")?, field(line, "outcome")?)))?
}

/// `CLOCK_BOOTTIME`, as `/proc/uptime` has it.
fn boot_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let rest = u64::try_from(now.tv_nsec).unwrap_or_default() / 1_000_000;
    seconds.saturating_mul(1000).saturating_add(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_from_the_log() {
        let line = r#"{"level":"INFO","fields":{"message":"bonk acknowledged","incident":"b-1-2","outcome":"OUTCOME_ACCEPTED"}}"#;
        let expected = ("b-1-2".to_owned(), "OUTCOME_ACCEPTED".to_owned());
        assert_eq!(answer(line), Some(expected));
        assert_eq!(answer(r#"{"fields":{"message":"attached"}}"#), None);
    }
}
