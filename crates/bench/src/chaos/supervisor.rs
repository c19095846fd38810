//! Starts and ends agents, one after another.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::{Admin, Agent, field, message};
use rustix::time::ClockId;
use xtask::process::capture;
use xtask::terminal;

use super::runs::Run;
use crate::clock::now_ns;
use crate::compare::IncidentLine;
use crate::site::Site;

/// For the last lines of an agent that is gone.
const REST: Duration = Duration::from_secs(10);

/// The agent at work, and those before it.
#[derive(Debug)]
pub(super) struct Supervisor {
    agent: Option<(Agent, Run)>,
    pub(super) runs: Vec<Run>,
    /// Records of the kernel's that no agent has read, for the next one.
    pin: Bpffs,
    /// Events and bonks that are not delivered yet, likewise.
    state: tempfile::TempDir,
}

/// A BPF file system of this process's own. Dropping it detaches what is pinned there.
#[derive(Debug)]
struct Bpffs(tempfile::TempDir);

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
            terminal::error(&error);
        }
    }
}

// === impl Supervisor ===

impl Supervisor {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            agent: None,
            runs: Vec::new(),
            pin: Bpffs::mount()?,
            state: tempfile::tempdir().context("make a directory for an agent's state")?,
        })
    }

    /// Starts the next agent.
    pub(super) fn start(&mut self, site: &Site) -> Result<()> {
        let begun_ms = boot_ms();
        let pin = self.pin.0.path().join("oom-agent");
        let args = [
            "--pin".as_ref(),
            pin.as_ref(),
            "--state".as_ref(),
            self.state.path().as_os_str(),
        ];
        let agent = site.agent(&args)?;
        let run = Run {
            begun_ms,
            attached_ms: boot_ms(),
            ..Run::default()
        };
        self.agent = Some((agent, run));
        Ok(())
    }

    /// The agent's admin port.
    pub(super) fn admin(&mut self) -> Result<Admin> {
        let (agent, _) = self.agent.as_mut().context("an agent at work")?;
        Admin::of_agent(agent)
    }

    /// Ends the agent and keeps what it reported.
    pub(super) fn end(&mut self, end: fn(&mut Agent)) -> Result<()> {
        let (mut agent, mut run) = self.agent.take().context("an agent at work")?;
        run.signalled_ms = boot_ms();
        end(&mut agent);
        run.gone_ms = boot_ms();
        for line in agent.incidents.to_end(REST) {
            match IncidentLine::parse(&line) {
                Some(incident) => run.incidents.push(incident),
                None => run.torn = run.torn.saturating_add(1),
            }
        }
        let log = agent.log.to_end(REST);
        run.answered = log.iter().filter_map(|line| answer(line)).collect();
        self.runs.push(run);
        Ok(())
    }
}

/// The bonker's answer to a bonk, as the agent logs it: the incident, and the outcome.
fn answer(line: &str) -> Option<(String, String)> {
    let message = message(line)?;
    matches!(message.as_str(), "bonk acknowledged" | "bonk not taken")
        .then(|| Some((field(line, "incident")?, field(line, "outcome")?)))?
}

/// As `/proc/uptime` has it.
fn boot_ms() -> u64 {
    now_ns(ClockId::Boottime) / 1_000_000
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
