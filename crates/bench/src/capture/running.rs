//! The tools as they run, and the kills that they are shown.

use std::fs::{self, File};
use std::io::{self, PipeWriter, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lab::{interrupt, wait};
use xtask::process::Guard;
use xtask::terminal;

use crate::figures::Times;
use crate::footprint::oom_kills;
use crate::join::Journal;
use crate::page::Phase;
use crate::stamps::Stamps;
use crate::stopwatch::{Stopwatch, now_ns};
use crate::tool::Tool;
use crate::victim::{Kill, Victims};

/// How long a tool may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);
/// After this a line is taken to be lost, and the next victim is killed.
const LOST: Duration = Duration::from_secs(2);
/// All tools are there once all reported that many kills in a row.
const WARM: u32 = 3;
/// Kills until then.
const ATTEMPTS: u32 = 15;

/// All tools. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Running {
    tools: Vec<(Tool, Guard)>,
    journals: Vec<Journal>,
    /// What reading a line takes by itself, in ns.
    pings: Vec<u64>,
    ping: PipeWriter,
    stopwatch: Stopwatch,
    victims: Victims,
    /// Their standard errors.
    logs: tempfile::TempDir,
}

impl Running {
    pub(super) fn start(compared: &[Tool], agent: &Path) -> Result<Self> {
        let logs = tempfile::tempdir().context("make a directory for logs")?;
        let mut tools = Vec::new();
        let mut pipes: Vec<OwnedFd> = Vec::new();
        for &tool in compared {
            let (reader, writer) = io::pipe().context("make a pipe")?;
            let log = logs.path().join(tool.name().replace('/', "-"));
            let log = File::create(&log).with_context(|| format!("make {}", log.display()))?;
            let mut command = tool.command(agent)?;
            command.stdin(Stdio::null()).stdout(writer).stderr(log);
            tools.push((tool, Guard::spawn(&mut command, GRACE)?));
            pipes.push(reader.into());
        }
        let (reader, ping) = io::pipe().context("make a pipe")?;
        pipes.push(reader.into());
        Ok(Self {
            journals: compared.iter().copied().map(Journal::new).collect(),
            pings: Vec::new(),
            tools,
            ping,
            stopwatch: Stopwatch::start(pipes)?,
            victims: Victims::new()?,
            logs,
        })
    }

    pub(super) fn pids(&self) -> impl Iterator<Item = (Tool, u32)> {
        self.tools.iter().map(|(tool, child)| (*tool, child.id()))
    }

    /// Lines are read before all ordinary threads.
    pub(super) fn harness_first(&self) -> bool {
        self.stopwatch
            .first
            .load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Until every tool reports every kill.
    pub(super) fn warm_up(&mut self) -> Result<()> {
        let mut in_a_row = 0;
        for n in 0..ATTEMPTS {
            let kill = self.kill(&format!("warm-{n}"))?;
            in_a_row = if self.silent(&kill).is_empty() {
                in_a_row + 1
            } else {
                0
            };
            if in_a_row == WARM {
                return Ok(());
            }
        }
        let kill = self.kill("warm-last")?;
        let mut text = format!("after {ATTEMPTS} kills not every tool reports them");
        for tool in self.silent(&kill) {
            let path = self.logs.path().join(tool.name().replace('/', "-"));
            let log = fs::read_to_string(path).unwrap_or_default();
            text = format!("{text}\n{} is silent: {}", tool.name(), log.trim());
        }
        bail!(text)
    }

    /// That many kills, one after another, and the reports of them.
    pub(super) fn phase(
        &mut self,
        name: &'static str,
        count: u32,
        stamps: &Stamps,
    ) -> Result<Phase> {
        let all = oom_kills()?;
        self.pings.clear();
        let mut kills = Vec::new();
        let mut written = vec![Vec::new(); self.tools.len()];
        for n in 0..count {
            interrupt::check()?;
            self.ping
                .write_all(format!("{}\n", now_ns()).as_bytes())
                .context("write to a pipe")?;
            let kill = self.kill(&format!("{name}-{n}"))?;
            let fresh = |stamp: &u64| *stamp >= kill.begun_ns;
            let marked = stamps.mark_ns(kill.pid).filter(fresh);
            for ((_, child), written) in self.tools.iter().zip(&mut written) {
                written.push(stamps.write_ns(child.id()).filter(fresh));
            }
            kills.push((kill, marked));
            if (n + 1) % 100 == 0 {
                terminal::line(format_args!("    {}", n + 1));
            }
        }
        let others = (oom_kills()?.saturating_sub(all)).saturating_sub(u64::from(count));
        let coverage = self.tools.iter().zip(&self.journals).zip(&written);
        Ok(Phase {
            name,
            kills: kills.len(),
            unstamped: kills.iter().filter(|(_, stamp)| stamp.is_none()).count(),
            others,
            coverage: coverage
                .map(|(((tool, _), journal), written)| (*tool, journal.coverage(&kills, written)))
                .collect(),
            harness: Times::summarize(self.pings.clone()),
        })
    }

    /// One kill, its cgroup left in place until all have reported it.
    fn kill(&mut self, name: &str) -> Result<Kill> {
        let (kill, _cgroup) = self.victims.kill(name)?;
        let reported = wait::until("every tool's line", LOST, || {
            self.read_lines();
            (self.silent(&kill).is_empty() || interrupt::check().is_err()).then_some(())
        });
        // A lost line shows in the coverage.
        let _ = reported;
        interrupt::check()?;
        Ok(kill)
    }

    fn silent(&self, kill: &Kill) -> Vec<Tool> {
        let all = self.tools.iter().zip(&self.journals);
        all.filter(|(_, journal)| !journal.has_report_of(kill))
            .map(|((tool, _), _)| *tool)
            .collect()
    }

    fn read_lines(&mut self) {
        for line in self.stopwatch.lines() {
            if let Some(journal) = self.journals.get_mut(line.stream) {
                journal.add(line);
            } else if let Ok(sent_ns) = line.text.parse() {
                self.pings.push(line.at_ns.saturating_sub(sent_ns));
            }
        }
    }
}
