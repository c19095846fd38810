//! The tools as they run, and the kills that they are shown.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, PipeReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lab::{interrupt, wait};
use rustix::time::ClockId;
use xtask::process::Guard;
use xtask::terminal;

use super::report::Phase;
use crate::clock::now_ns;
use crate::footprint::oom_kills;
use crate::join::{Journal, Line};
use crate::stamps::Stamps;
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
/// Lines that were not taken yet; then the readers wait.
const LINES: usize = 65_536;

/// All tools. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Running {
    tools: Vec<RunningTool>,
    victims: Victims,
    /// Their standard errors.
    logs: tempfile::TempDir,
}

#[derive(Debug)]
struct RunningTool {
    child: Guard,
    lines: Receiver<Line>,
    journal: Journal,
}

impl Running {
    pub(super) fn start(compared: &[Tool], agent: &Path) -> Result<Self> {
        let logs = tempfile::tempdir().context("make a directory for logs")?;
        let mut tools = Vec::new();
        for &tool in compared {
            let (reader, writer) = io::pipe().context("make a pipe")?;
            let log = logs.path().join(tool.name().replace('/', "-"));
            let log = File::create(&log).with_context(|| format!("make {}", log.display()))?;
            let mut command = tool.command(agent)?;
            command.stdin(Stdio::null()).stdout(writer).stderr(log);
            let child = Guard::spawn(&mut command, GRACE)?;
            let (sender, lines) = sync_channel(LINES);
            thread::spawn(move || read_lines(reader, &sender));
            tools.push(RunningTool {
                child,
                lines,
                journal: Journal::new(tool),
            });
        }
        Ok(Self {
            tools,
            victims: Victims::new()?,
            logs,
        })
    }

    pub(super) fn pids(&self) -> impl Iterator<Item = (Tool, u32)> {
        self.tools
            .iter()
            .map(|one| (one.journal.tool, one.child.id()))
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
        let mut kills = Vec::new();
        let mut written = vec![Vec::new(); self.tools.len()];
        for n in 0..count {
            interrupt::check()?;
            let kill = self.kill(&format!("{name}-{n}"))?;
            let fresh = |stamp: &u64| *stamp >= kill.begun_ns;
            let marked = stamps.mark_ns(kill.pid).filter(fresh);
            for ((_, pid), written) in self.pids().zip(&mut written) {
                written.push(stamps.write_ns(pid).filter(fresh));
            }
            kills.push((kill, marked));
            if (n + 1) % 100 == 0 {
                terminal::line(format_args!("    {}", n + 1));
            }
        }
        let others = (oom_kills()?.saturating_sub(all)).saturating_sub(u64::from(count));
        let coverage = self.tools.iter().zip(&written);
        Ok(Phase {
            name,
            kills: kills.len(),
            unstamped: kills.iter().filter(|(_, stamp)| stamp.is_none()).count(),
            others,
            coverage: coverage
                .map(|(one, written)| (one.journal.tool, one.journal.coverage(&kills, written)))
                .collect(),
        })
    }

    /// One kill, its cgroup left in place until all have reported it.
    fn kill(&mut self, name: &str) -> Result<Kill> {
        let (kill, _cgroup) = self.victims.kill(name)?;
        // A lost line shows in the coverage.
        let _late = wait::until("every tool's line", LOST, || {
            for one in &mut self.tools {
                one.lines.try_iter().for_each(|line| one.journal.add(line));
            }
            (self.silent(&kill).is_empty() || interrupt::check().is_err()).then_some(())
        });
        interrupt::check()?;
        Ok(kill)
    }

    fn silent(&self, kill: &Kill) -> Vec<Tool> {
        let silent = self.tools.iter();
        let silent = silent.filter(|one| !one.journal.has_report_of(kill));
        silent.map(|one| one.journal.tool).collect()
    }
}

/// Until the stream ends, or its lines are not taken any more.
fn read_lines(pipe: PipeReader, lines: &SyncSender<Line>) {
    for text in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
        let line = Line {
            at_ns: now_ns(ClockId::Monotonic),
            text: String::from_utf8_lossy(&text).into_owned(),
        };
        if lines.send(line).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_line_has_the_stamp_of_its_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        let (sender, lines) = sync_channel(LINES);
        let reading = thread::spawn(move || read_lines(reader, &sender));
        writer.write_all(b"o").unwrap();
        let before = now_ns(ClockId::Monotonic);
        writer.write_all(b"ne\ntwo\n").unwrap();
        drop(writer);
        reading.join().unwrap();
        let lines: Vec<Line> = lines.iter().collect();
        let texts: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["one", "two"]);
        assert!(lines[0].at_ns >= before && lines[0].at_ns <= now_ns(ClockId::Monotonic));
    }
}
