//! Processes that are going to be killed, and what /proc shows of them before.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::ops::{Deref, DerefMut};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use memcg::Processes;
use rustix::process::Pid;
use rustix::thread::{CpuSet, UnshareFlags, sched_setaffinity};
use serde_json::{Value, json};
use xtask::process::Guard;

use super::pods::Group;
use crate::Output;
use crate::expect::between;
use crate::wait::HANG;

/// A hog writes fewer lines than these.
const LINES: usize = 8;

/// In ns; `USER_HZ` is 100 wherever Linux runs.
const TICK: u64 = 10_000_000;

/// A hog in a cgroup; dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    child: Guard,
    hog: Hog,
    group: Group,
}

/// The two ends of a hog that waits at its gate.
#[derive(Debug)]
pub(super) struct Hog {
    stdin: File,
    output: Output,
}

/// Processes of one PID namespace. Its first one cannot be reaped before the
/// others are: they are dropped last to first.
#[derive(Debug)]
pub(super) struct Pack(pub(super) Vec<Process>);

/// What is known of a process before it is killed.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) pid: u32,
    /// Its threads.
    pub(super) tids: BTreeSet<u32>,
    /// The incident's `victims[]` entry but for `rss_bytes`.
    pub(super) victim: Value,
    pub(super) in_container: bool,
    pub(super) resident: Resident,
}

/// A process's resident memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Resident {
    pub(super) anon: u64,
    pub(super) file: u64,
    pub(super) shmem: u64,
}

/// What to start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) group: &'a Group,
    pub(super) args: &'a [&'a str],
    pub(super) uid: u32,
    pub(super) oom_score_adj: i32,
}

// === impl Plan ===

impl<'a> Plan<'a> {
    pub(super) fn new(group: &'a Group, args: &'a [&'a str]) -> Self {
        Self {
            group,
            args,
            uid: 0,
            oom_score_adj: 0,
        }
    }

    /// A process that the kernel kills before any other.
    pub(super) fn preferred(self) -> Self {
        Self {
            oom_score_adj: 1000,
            ..self
        }
    }

    /// A process that the kernel never kills.
    pub(super) fn spared(self) -> Self {
        Self {
            oom_score_adj: -1000,
            ..self
        }
    }
}

/// Starts one, opens its gate, and waits until it holds its memory.
pub(super) fn start_holding(plan: Plan<'_>) -> Result<Process> {
    let mut process = start(plan)?;
    process.touch()?;
    Ok(process)
}

/// Starts one in a PID namespace of its own: it waits at its gate.
pub(super) fn start(plan: Plan<'_>) -> Result<Process> {
    let mut pack = start_pack(&[plan])?;
    pack.0.pop().context("a process")
}

/// Starts each in order, all in one PID namespace of their own: the first is its
/// first process. Each waits at its gate.
pub(super) fn start_pack(plans: &[Plan<'_>]) -> Result<Pack> {
    start_with(plans, || Ok(())).map(|(pack, ())| pack)
}

/// The same, with what `others` starts in that namespace.
pub(super) fn start_with<T: Send>(
    plans: &[Plan<'_>],
    others: impl FnOnce() -> Result<T> + Send,
) -> Result<(Pack, T)> {
    // What a thread unshares is for the children of that thread alone.
    let started: Result<(Vec<Guard>, T)> = thread::scope(|scope| {
        let starter = scope.spawn(|| {
            #[expect(
                deprecated,
                reason = "the other one is unsafe for the sake of UnshareFlags::FILES"
            )]
            rustix::thread::unshare(UnshareFlags::NEWPID).context("unshare the PID namespace")?;
            let children: Result<Vec<Guard>> = plans.iter().map(spawn).collect();
            Ok((children?, others()?))
        });
        starter.join().map_err(|_| anyhow!("the starter died"))?
    });
    let mut pack = Pack(Vec::new());
    let (children, others) = started?;
    for (child, plan) in children.into_iter().zip(plans) {
        pack.0.push(Process::new(child, plan)?);
    }
    // A group is killed in the order of its entries. Once the namespace's first
    // process is, the others end with it, marked or not: it is the last one.
    pack.0.iter().rev().try_for_each(Process::enter)?;
    Ok((pack, others))
}

/// Starts one in the host's PID namespace.
pub(super) fn start_on_host(plan: Plan<'_>) -> Result<Process> {
    let process = Process::new(spawn(&plan)?, &plan)?;
    process.enter()?;
    Ok(process)
}

fn spawn(plan: &Plan<'_>) -> Result<Guard> {
    let mut command = Command::new("/bin/hog");
    command
        .arg("hog")
        .args(plan.args)
        .uid(plan.uid)
        .env("APP_NAME", "hog")
        .env("SECRET", "hunter2")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    Guard::spawn(&mut command, Duration::ZERO)
}

impl Process {
    fn new(mut child: Guard, plan: &Plan<'_>) -> Result<Self> {
        let stdin = child.stdin.take().context("a piped standard input")?;
        let stdout = child.stdout.take().context("a piped standard output")?;
        let pid = child.id();
        let process = Self {
            child,
            hog: Hog::wait_at_gate(OwnedFd::from(stdin).into(), stdout)?,
            group: plan.group.clone(),
        };
        fs::write(
            format!("/proc/{pid}/oom_score_adj"),
            plan.oom_score_adj.to_string(),
        )
        .context("set oom_score_adj")?;
        Ok(process)
    }

    /// Moves it into its cgroup, with its children.
    fn enter(&self) -> Result<()> {
        self.group.enter(self.child.id())?;
        self.children()
            .into_iter()
            .try_for_each(|child| self.group.enter(child))
    }

    pub(super) fn facts(&self) -> Result<Facts> {
        Facts::read(self.child.id(), &self.group)
    }

    /// Of its only child.
    pub(super) fn child_facts(&self) -> Result<Facts> {
        let child = self.children().first().copied();
        Facts::read(child.context("a child")?, &self.group)
    }

    /// Opens the gate and waits until all is touched.
    pub(super) fn touch(&mut self) -> Result<()> {
        self.open_gate()?;
        self.wait_for_line("touched")
    }

    /// Sends it SIGKILL.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.child.kill().context("kill a hog")
    }

    /// Has it run on the first CPU alone.
    pub(super) fn pin(&self) -> Result<()> {
        let mut first = CpuSet::new();
        first.set(0);
        let pid = Pid::from_child(&self.child);
        sched_setaffinity(Some(pid), &first).context("bind a hog to a CPU")
    }

    /// Fails if it has ended.
    pub(super) fn ensure_alive(&mut self) -> Result<()> {
        let ended = self.child.try_wait().context("look at a hog")?;
        ended.map_or(Ok(()), |status| Err(anyhow!("it should live on: {status}")))
    }

    fn children(&self) -> Vec<u32> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let pids = children.split_whitespace().map(str::parse);
        pids.filter_map(Result::ok).collect()
    }
}

impl Deref for Process {
    type Target = Hog;

    fn deref(&self) -> &Hog {
        &self.hog
    }
}

impl DerefMut for Process {
    fn deref_mut(&mut self) -> &mut Hog {
        &mut self.hog
    }
}

impl Hog {
    /// By these ends of its standard input and output.
    pub(super) fn wait_at_gate(stdin: File, stdout: impl Read + Send + 'static) -> Result<Self> {
        let output = Output::with_room("hog", stdout, LINES);
        let mut hog = Self { stdin, output };
        hog.wait_for_line("ready")?;
        Ok(hog)
    }

    pub(super) fn open_gate(&mut self) -> Result<()> {
        self.stdin.write_all(b"\n").context("open a hog's gate")
    }

    pub(super) fn wait_for_line(&mut self, start: &str) -> Result<()> {
        self.output
            .find(start, HANG, |line| line.starts_with(start).then_some(()))
    }
}

impl Drop for Pack {
    fn drop(&mut self) {
        while self.0.pop().is_some() {}
    }
}

impl Facts {
    pub(super) fn read(pid: u32, group: &Group) -> Result<Self> {
        let attempt = || format!("read /proc/{pid}");
        let process = Processes::new("/proc").open(pid).with_context(attempt)?;
        let read = |name| process.read_text(name).with_context(attempt);
        let status = process.status().with_context(attempt)?;
        let number = |key: &str| {
            let number: Option<u64> = status.number(key);
            number.with_context(|| format!("{key} in the status of {pid}"))
        };
        let stat = process.stat().with_context(attempt)?;
        let start = stat.context("a stat")?.start_ticks.saturating_mul(TICK);
        let namespace_pid: Option<u32> = status.numbers("NSpid").last();
        let cmdline = read("cmdline")?;
        let arguments: Vec<&str> = cmdline.trim_end_matches('\0').split('\0').collect();
        let adj: i32 = read("oom_score_adj")?
            .trim()
            .parse()
            .context("read oom_score_adj")?;
        let victim = json!({
            "pid": pid,
            "comm": read("comm")?.trim_end(),
            "cmdline": arguments,
            "environment": null,
            "parent_pid": number("PPid")?,
            "namespace_pid": namespace_pid.context("a pid in its namespace")?,
            "first_process": group.container.as_ref().map(|_| namespace_pid == Some(1)),
            "start_boot_ns": between(start, start.saturating_add(TICK)),
            "uid": number("Uid")?,
            "oom_score_adj": adj,
            "rss_bytes": null,
            "cgroup": group.path,
            "container": group.container_json(),
            "pod": group.pod_json(),
        });
        let threads = Processes::new(format!("/proc/{pid}/task"));
        let kib = |key| anyhow::Ok(number(key)?.saturating_mul(1024));
        Ok(Self {
            pid,
            tids: threads.pids().with_context(attempt)?,
            victim,
            resident: Resident {
                anon: kib("RssAnon")?,
                file: kib("RssFile")?,
                shmem: kib("RssShmem")?,
            },
            in_container: group.container.is_some(),
        })
    }
}
