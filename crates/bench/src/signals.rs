//! What a signal costs that is no OOM kill's: the agent's programs on signal tracepoints, by the
//! kernel's own count, next to a program that does nothing on the same tracepoint at the same time.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result, ensure};
use aya::programs::{BtfTracePoint, loaded_programs};
use aya::sys::{Stats, enable_stats};
use aya::{Btf, Ebpf};
use rustix::process::{Signal, getpid, kill_process};
use signal_hook::consts::SIGUSR1;

use lab::interrupt;
use xtask::process::run;
use xtask::workspace;

/// The agent's programs that see every signal of the machine; named as their tracepoints.
const PROGRAMS: [&str; 2] = ["signal_deliver", "signal_generate"];
/// The signals are sent in so many parts, and the median part counts.
const ROUNDS: u32 = 9;

/// Flags of the hidden command.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Args {
    /// How many.
    #[arg(long)]
    count: u32,
}

/// What one run of a program costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) program: &'static str,
    /// One run of the agent's, in tenths of a nanosecond.
    pub(super) ours_tenths: u64,
    /// One run of the one that does nothing.
    pub(super) empty_tenths: u64,
    /// Runs of the agent's that this is of.
    pub(super) runs: u64,
}

/// The kernel's count for a program; only while statistics are on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    run_time_ns: u64,
    runs: u64,
}

/// A program and the one to compare it with, each by where the kernel counts its runs.
struct Pair {
    program: &'static str,
    ours: String,
    empty: String,
    /// Holds the second attached.
    _object: Ebpf,
}

/// Sends harmless signals to this process, each of which is delivered to a handler.
pub(super) fn send(args: Args) -> Result<()> {
    signal_hook::flag::register(SIGUSR1, Arc::new(AtomicBool::new(false)))
        .context("catch SIGUSR1")?;
    for _ in 0..args.count {
        kill_process(getpid(), Signal::USR1).context("send a signal to this process")?;
    }
    Ok(())
}

/// Has that many signals sent while the agent of that pid runs.
pub(super) fn measure(agent: u32, signals: u32) -> Result<Vec<Cost>> {
    let btf = Btf::from_sys_fs().context("read the kernel's BTF")?;
    let pairs = PROGRAMS
        .into_iter()
        .map(|program| Pair::attach(program, agent, &btf))
        .collect::<Result<Vec<_>>>()?;
    // Off again with the last descriptor, however this program ends.
    let _counting = enable_stats(Stats::RunTime).context("turn on the kernel's BPF statistics")?;
    let this = std::env::current_exe().context("find this program")?;
    let part = signals.div_ceil(ROUNDS);
    let mut rounds = vec![Vec::new(); pairs.len()];
    for _ in 0..ROUNDS {
        interrupt::check()?;
        let before = counts(&pairs)?;
        run(Command::new(&this)
            .args(["signals", "--count", &part.to_string()])
            .stdin(Stdio::null()))?;
        for ((round, before), after) in rounds.iter_mut().zip(before).zip(counts(&pairs)?) {
            let (ours, empty) = (after.0.since(before.0), after.1.since(before.1));
            ensure!(
                ours.runs >= u64::from(part) && empty.runs >= u64::from(part),
                "of {part} signals the agent's program saw {}, the empty one {}",
                ours.runs,
                empty.runs
            );
            round.push((ours, empty));
        }
    }
    let costs = pairs.iter().zip(rounds).map(|(pair, rounds)| Cost {
        program: pair.program,
        ours_tenths: median(rounds.iter().map(|(ours, _)| ours.tenths())),
        empty_tenths: median(rounds.iter().map(|(_, empty)| empty.tenths())),
        runs: rounds.iter().map(|(ours, _)| ours.runs).sum(),
    });
    Ok(costs.collect())
}

impl Pair {
    fn attach(program: &'static str, agent: u32, btf: &Btf) -> Result<Self> {
        let ours = fdinfo_of(agent, program)?;
        let path = workspace::bench_ebpf_object();
        let mut object =
            Ebpf::load_file(&path).with_context(|| format!("load {}", path.display()))?;
        let empty: &mut BtfTracePoint = object
            .program_mut("empty")
            .with_context(|| format!("the program in {}", path.display()))?
            .try_into()
            .context("a BTF tracepoint's program")?;
        empty
            .load(program, btf)
            .and_then(|()| empty.attach())
            .with_context(|| format!("attach an empty program to {program}"))?;
        let fd = empty
            .fd()
            .context("the empty program's descriptor")?
            .as_fd()
            .as_raw_fd();
        Ok(Self {
            program,
            ours,
            empty: format!("/proc/self/fdinfo/{fd}"),
            _object: object,
        })
    }
}

impl Count {
    fn since(self, before: Self) -> Self {
        Self {
            run_time_ns: self.run_time_ns.saturating_sub(before.run_time_ns),
            runs: self.runs.saturating_sub(before.runs),
        }
    }

    /// One run, in tenths of a nanosecond.
    fn tenths(self) -> u64 {
        self.run_time_ns
            .saturating_mul(10)
            .checked_div(self.runs)
            .unwrap_or_default()
    }

    /// Of an fdinfo: `run_time_ns:\t42`.
    fn parse(fdinfo: &str) -> Option<Self> {
        Some(Self {
            run_time_ns: field(fdinfo, "run_time_ns")?,
            runs: field(fdinfo, "run_cnt")?,
        })
    }
}

fn counts(pairs: &[Pair]) -> Result<Vec<(Count, Count)>> {
    let count = |path: &str| {
        let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
        Count::parse(&text).with_context(|| format!("a BPF program's statistics in {path}"))
    };
    pairs
        .iter()
        .map(|pair| Ok((count(&pair.ours)?, count(&pair.empty)?)))
        .collect()
}

/// Where the kernel counts the runs of the program of that name that a process holds: others may hold
/// programs of the same name.
fn fdinfo_of(pid: u32, name: &str) -> Result<String> {
    let ids: Vec<u32> = loaded_programs()
        // A program that went while the list was read is not the agent's.
        .flatten()
        .filter(|info| info.name_as_str() == Some(name))
        .map(|info| info.id())
        .collect();
    let dir = format!("/proc/{pid}/fdinfo");
    for entry in fs::read_dir(&dir).with_context(|| format!("list {dir}"))? {
        let path = entry.with_context(|| format!("list {dir}"))?.path();
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        let id = field(&text, "prog_id").and_then(|id| u32::try_from(id).ok());
        // Links name their program too, but count nothing.
        if Count::parse(&text).is_some() && id.is_some_and(|id| ids.contains(&id)) {
            return Ok(path.to_string_lossy().into_owned());
        }
    }
    anyhow::bail!("process {pid} holds no BPF program {name}")
}

fn field(fdinfo: &str, name: &str) -> Option<u64> {
    let value = |line: &str| {
        line.strip_prefix(name)?
            .strip_prefix(':')?
            .trim()
            .parse()
            .ok()
    };
    fdinfo.lines().find_map(value)
}

fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_fdinfo_is_understood() {
        let program = "pos:\t0\nflags:\t02000002\nprog_type:\t26\nprog_jited:\t1\nprog_tag:\tdeadbeef\n\
            memlock:\t4096\nprog_id:\t77\nrun_time_ns:\t1234\nrun_cnt:\t10\nrecursion_misses:\t0\n";
        let count = Count::parse(program).unwrap();
        assert_eq!(
            (count.run_time_ns, count.runs, count.tenths()),
            (1234, 10, 1234)
        );
        assert_eq!(field(program, "prog_id"), Some(77));
        assert_eq!(Count::parse("prog_id:\t77\nrun_time_ns:\t1234\n"), None);
        assert_eq!(Count::parse("link_type:\ttracing\nprog_id:\t77\n"), None);
    }

    #[test]
    fn a_cost_is_of_what_came_between() {
        let count = |run_time_ns, runs| Count { run_time_ns, runs };
        assert_eq!(count(500, 20).since(count(100, 10)).tenths(), 400);
        assert_eq!(Count::default().tenths(), 0);
        assert_eq!(median([9, 1, 5].into_iter()), 5);
    }
}
