//! The two programs under test, as child processes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use xtask::process::{self, Guard, stop};

use crate::output::Output;
use crate::scrape::Scrape;
use crate::wait::HANG;
use crate::{http, port};

/// A running `oom-agent run --output json --log-format json`, or the same of `watch-pods`. Dropping it ends it.
#[derive(Debug)]
pub struct Agent {
    child: Guard,
    /// Standard output: incidents.
    pub incidents: Output,
    /// Standard error: the log.
    pub log: Output,
}

impl Agent {
    /// Starts it and waits until its programs are attached.
    pub fn start<S: AsRef<OsStr>>(
        binary: &Path,
        args: &[S],
        env: &[(&str, &OsStr)],
    ) -> Result<Self> {
        let mut command = Command::new(binary);
        command.envs(env.iter().copied());
        Self::start_command(command, args)
    }

    /// As [`Agent::start`], by a command that becomes the agent with what is appended.
    pub(crate) fn start_command<S: AsRef<OsStr>>(mut command: Command, args: &[S]) -> Result<Self> {
        Self::spawn(command.arg("run"), args, "attached")
    }

    /// Starts the controller, and waits until it knows its API server.
    pub fn start_controller<S: AsRef<OsStr>>(
        binary: &Path,
        kubeconfig: &Path,
        args: &[S],
    ) -> Result<Self> {
        let mut command = Command::new(binary);
        command.args(["watch-pods", "--kubeconfig"]).arg(kubeconfig);
        Self::spawn(&mut command, args, "Kubernetes API server")
    }

    fn spawn<S: AsRef<OsStr>>(command: &mut Command, args: &[S], ready: &str) -> Result<Self> {
        command
            .args(["--output", "json", "--log-format", "json"])
            .args(args);
        let (child, incidents, log) = spawn("oom-agent", command)?;
        let mut agent = Self {
            child,
            incidents,
            log,
        };
        agent.find_message(ready, HANG)?;
        Ok(agent)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM and waits for its end.
    pub fn end(&mut self) {
        stop(&mut self.child, HANG);
    }

    /// Ends it as a crash does, by SIGKILL.
    pub fn crash(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The same; every line of its standard output.
    pub fn crash_and_read(&mut self) -> Vec<String> {
        self.crash();
        self.incidents.to_end(HANG)
    }

    /// Sends it a signal: SIGSTOP has it stand still, as one whose node is frozen or cut off.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("send {signal:?} to oom-agent"))
    }

    /// Waits for a message that contains `text`, within `limit`.
    pub fn find_message(&mut self, text: &str, limit: Duration) -> Result<()> {
        find_message(&mut self.log, text, limit)
    }

    /// The incident whose victim is in that cgroup, within `limit`.
    pub fn incident_in(&mut self, cgroup: &str, limit: Duration) -> Result<Value> {
        self.incidents
            .find(&format!("incident in {cgroup}"), limit, |line| {
                let incident: Value = serde_json::from_str(line).ok()?;
                (victim(&incident)?.get("cgroup")?.as_str()? == cgroup).then_some(incident)
            })
    }

    /// The incident whose victim is that process, within `limit`.
    pub fn incident_of(&mut self, pid: u32, limit: Duration) -> Result<Value> {
        self.incidents
            .find(&format!("incident of process {pid}"), limit, |line| {
                let incident: Value = serde_json::from_str(line).ok()?;
                (victim(&incident)?.get("pid")?.as_u64()? == u64::from(pid)).then_some(incident)
            })
    }

    /// The log record of an acknowledged bonk.
    pub fn acknowledgement(&mut self, incident: &str, limit: Duration) -> Result<Value> {
        self.log
            .find(&format!("acknowledgement of {incident}"), limit, |line| {
                let ours =
                    message(line)? == "bonk acknowledged" && field(line, "incident")? == incident;
                ours.then(|| serde_json::from_str(line).ok()).flatten()
            })
    }
}

/// A running `bonker-gpio serve` with the simulated servo. Dropping it ends it.
#[derive(Debug)]
pub struct Bonker {
    child: Guard,
    /// Standard error: the log, with every step of a swing.
    pub log: Output,
    url: String,
    web: Option<SocketAddr>,
}

impl Bonker {
    /// Starts it on a port of the kernel's choice and waits until it listens; `flags` are more of
    /// `serve`'s.
    pub fn start(binary: &Path, flags: &[&str]) -> Result<Self> {
        Self::start_as(binary, &[&["--backend", "sim"], flags].concat())
    }

    /// The same, with HTTP on another such port.
    pub fn start_with_web(binary: &Path, flags: &[&str]) -> Result<Self> {
        Self::start(binary, &[&["--http-listen", "127.0.0.1:0"], flags].concat())
    }

    /// As [`Bonker::start`], with the backend among the flags.
    pub fn start_as(binary: &Path, flags: &[&str]) -> Result<Self> {
        let mut command = Command::new(binary);
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(flags);
        let (child, mut out, mut log) = spawn("bonker-gpio", &mut command)?;
        let url = out.find("message that it listens", HANG, |line| {
            line.strip_prefix("listening on ").map(str::to_owned)
        });
        let url = url.with_context(|| log.so_far().collect::<Vec<_>>().join("\n"))?;
        let find_web = || {
            out.find("address of its web side", HANG, |line| {
                let (_, address) = line.strip_prefix("web on ")?.split_once("://")?;
                address.trim_end_matches('/').parse().ok()
            })
        };
        let web = flags.contains(&"--http-listen");
        let web = web.then(find_web).transpose()?;
        Ok(Self {
            child,
            log,
            url,
            web,
        })
    }

    /// Where its page is, if it was started with `--http-listen`: `http://127.0.0.1:PORT/`.
    pub fn page(&self) -> Option<String> {
        self.web.map(|web| format!("http://{web}/"))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it serves: `http://127.0.0.1:PORT`, or `https:`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it serves HTTP, if it was started with `--http-listen`.
    pub fn web(&self) -> Option<SocketAddr> {
        self.web
    }

    /// How often it gave each answer, by its `/metrics`, on which there is nothing in TLS.
    pub fn requests(&self) -> Result<BTreeMap<String, u64>> {
        let scrape = Scrape::parse(&self.metrics()?);
        let counts = scrape.by("bonker_requests_total", ["outcome"]);
        Ok(counts
            .into_iter()
            .map(|([outcome], count)| (outcome, count))
            .collect())
    }

    /// The text of its `/metrics`.
    pub fn metrics(&self) -> Result<String> {
        http::get_ok(self.web.context("a bonker with --http-listen")?, "/metrics")
    }

    /// Sends SIGTERM: how long its end takes, and whether it ends well.
    pub fn end(&mut self) -> Result<(Duration, bool)> {
        let sent = Instant::now();
        kill_process(Pid::from_child(&self.child), Signal::TERM).context("send SIGTERM")?;
        let status = process::wait_timeout(&mut self.child, HANG)?;
        let took = sent.elapsed();
        Ok((took, status.context("an end")?.success()))
    }
}

/// A loopback URL that refuses connections: the port stays taken, without a
/// listener, as long as the returned guard lives.
pub fn refusing_url() -> Result<(String, std::os::fd::OwnedFd)> {
    let (port, guard) = port::reserve()?;
    Ok((format!("http://127.0.0.1:{port}"), guard))
}

/// The first victim of an incident line.
pub fn victim(incident: &Value) -> Option<&Value> {
    incident.get("victims")?.get(0)
}

/// When the kernel stamped the kill: its clock's nanoseconds stand in the incident's id.
pub fn stamp(id: &str) -> Option<Instant> {
    let stamp = Duration::from_nanos(id.split('-').nth(1)?.parse().ok()?);
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now = Duration::new(now.tv_sec.try_into().ok()?, now.tv_nsec.try_into().ok()?);
    Instant::now().checked_sub(now.checked_sub(stamp)?)
}

/// The message of a JSON log line.
pub fn message(line: &str) -> Option<String> {
    field(line, "message")
}

/// Waits for a JSON log line whose message contains `text`.
pub(crate) fn find_message(log: &mut Output, text: &str, limit: Duration) -> Result<()> {
    log.find(text, limit, |line| {
        message(line)?.contains(text).then_some(())
    })
}

/// A field of a JSON log line, as text.
pub fn field(line: &str, name: &str) -> Option<String> {
    let record: Value = serde_json::from_str(line).ok()?;
    let value = record
        .get("fields")
        .and_then(|fields| fields.get(name))
        .or_else(|| record.get(name))?;
    Some(match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}

/// Starts a program with both of its outputs read.
fn spawn(name: &'static str, command: &mut Command) -> Result<(Guard, Output, Output)> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = Guard::spawn(command, HANG)?;
    let out = child.stdout.take().context("a piped standard output")?;
    let log = child.stderr.take().context("a piped standard error")?;
    Ok((child, Output::new(name, out), Output::new(name, log)))
}
