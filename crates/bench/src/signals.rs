//! What a signal costs that is no OOM kill's: the agent's programs on signal tracepoints, by the
//! kernel's own count, next to a program that does nothing on the same tracepoint at the same time.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result, ensure};
use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};
use aya::{Btf, Ebpf};
use rustix::process::{Signal, getpid, kill_process};
use signal_hook::consts::SIGUSR1;

use lab::interrupt;
use xtask::process::run;
use xtask::workspace;

use super::figures::Times;
use super::stamps::attach;

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

/// A program and the one to compare it with, by their ids.
struct Pair {
    program: &'static str,
    ours: u32,
    empty: u32,
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
    let median = |tenths: &mut dyn Iterator<Item = u64>| {
        Times::summarize(tenths).map_or(0, |times| times.p50)
    };
    let costs = pairs.iter().zip(rounds).map(|(pair, rounds)| Cost {
        program: pair.program,
        ours_tenths: median(&mut rounds.iter().map(|(ours, _)| ours.tenths())),
        empty_tenths: median(&mut rounds.iter().map(|(_, empty)| empty.tenths())),
        runs: rounds.iter().map(|(ours, _)| ours.runs).sum(),
    });
    Ok(costs.collect())
}

impl Pair {
    fn attach(program: &'static str, agent: u32, btf: &Btf) -> Result<Self> {
        let path = workspace::bench_ebpf_object();
        let mut object =
            Ebpf::load_file(&path).with_context(|| format!("load {}", path.display()))?;
        let empty = attach(&mut object, "empty", program, btf)?;
        Ok(Self {
            program,
            ours: program_of(agent, program)?,
            empty: empty.info().context("read about the empty program")?.id(),
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
}

fn counts(pairs: &[Pair]) -> Result<Vec<(Count, Count)>> {
    let programs: Vec<_> = loaded_programs().flatten().collect();
    let count = |id: u32| {
        let info = programs.iter().find(|info| info.id() == id);
        let info = info.with_context(|| format!("the statistics of BPF program {id}"))?;
        let run_time_ns = u64::try_from(info.run_time().as_nanos()).unwrap_or(u64::MAX);
        let runs = info.run_count();
        anyhow::Ok(Count { run_time_ns, runs })
    };
    let both = pairs
        .iter()
        .map(|pair| Ok((count(pair.ours)?, count(pair.empty)?)));
    both.collect()
}

/// The program of that name that a process holds: others may hold programs of the same name.
fn program_of(pid: u32, name: &str) -> Result<u32> {
    let dir = format!("/proc/{pid}/fdinfo");
    let mut held = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("list {dir}"))? {
        let path = entry.with_context(|| format!("list {dir}"))?.path();
        held.extend(
            fs::read_to_string(path)
                .ok()
                .and_then(|text| program_id(&text)),
        );
    }
    // A program that went while the list was read is not the agent's.
    let mut programs = loaded_programs().flatten();
    let ours = programs.find(|info| info.name_as_str() == Some(name) && held.contains(&info.id()));
    let ours = ours.with_context(|| format!("process {pid} holds no BPF program {name}"))?;
    Ok(ours.id())
}

/// Of the fdinfo of a program, or of a link, which names its program.
fn program_id(fdinfo: &str) -> Option<u32> {
    let id = |line: &str| line.strip_prefix("prog_id:")?.trim().parse().ok();
    fdinfo.lines().find_map(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_has_an_id() {
        let program = "pos:\t0\nprog_type:\t26\nmemlock:\t4096\nprog_id:\t77\nrun_cnt:\t10\n";
        assert_eq!(program_id(program), Some(77));
        assert_eq!(program_id("pos:\t0\n"), None);
    }

    #[test]
    fn a_cost_is_of_what_came_between() {
        let count = |run_time_ns, runs| Count { run_time_ns, runs };
        assert_eq!(count(500, 20).since(count(100, 10)).tenths(), 400);
        assert_eq!(Count::default().tenths(), 0);
    }
}
