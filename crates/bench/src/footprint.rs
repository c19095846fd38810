//! What a process takes while it waits: memory, CPU time, wake-ups.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Resident memory; in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// All that is resident, shared or not.
    pub(super) rss: u64,
    /// The most of that since the process was started.
    pub(super) peak: u64,
    /// What is resident, each shared page divided by how many share it.
    pub(super) pss: u64,
    /// Of what is resident: what no file backs.
    pub(super) anon: u64,
}

/// What the threads of a process did since they were started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Activity {
    /// How often one was put on a CPU after it slept or was preempted.
    pub(super) switches: u64,
    /// On a CPU, in nanoseconds.
    pub(super) cpu_ns: u64,
}

impl Memory {
    pub(super) fn read(pid: u32) -> Result<Self> {
        let status = read(format!("/proc/{pid}/status"))?;
        let rollup = read(format!("/proc/{pid}/smaps_rollup"))?;
        Self::parse(&status, &rollup).with_context(|| format!("the memory of process {pid}"))
    }

    fn parse(status: &str, rollup: &str) -> Option<Self> {
        Some(Self {
            rss: field(status, "VmRSS:")?,
            peak: field(status, "VmHWM:")?,
            pss: field(rollup, "Pss:")?,
            anon: field(status, "RssAnon:")?,
        })
    }
}

impl Activity {
    /// Of all threads that a process has now.
    pub(super) fn read(pid: u32) -> Result<Self> {
        let tasks = format!("/proc/{pid}/task");
        let mut sum = Self::default();
        for entry in fs::read_dir(&tasks).with_context(|| format!("list {tasks}"))? {
            let task = entry.with_context(|| format!("list {tasks}"))?.path();
            // A thread that ended while the list was read did nothing since.
            let (Ok(status), Ok(schedstat)) =
                (read(task.join("status")), read(task.join("schedstat")))
            else {
                continue;
            };
            let one = Self::parse(&status, &schedstat)
                .with_context(|| format!("the activity in {}", task.display()))?;
            sum.switches += one.switches;
            sum.cpu_ns += one.cpu_ns;
        }
        Ok(sum)
    }

    /// `schedstat` (Documentation/scheduler/sched-stats): time on a CPU, time waiting for one, times run.
    fn parse(status: &str, schedstat: &str) -> Option<Self> {
        Some(Self {
            switches: field(status, "voluntary_ctxt_switches:")?
                .checked_add(field(status, "nonvoluntary_ctxt_switches:")?)?,
            cpu_ns: schedstat.split_whitespace().next()?.parse().ok()?,
        })
    }

    /// What was done since an earlier look.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            switches: self.switches.saturating_sub(before.switches),
            cpu_ns: self.cpu_ns.saturating_sub(before.cpu_ns),
        }
    }
}

/// What all CPUs did since the machine was started, in ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cpus {
    idle: u64,
    all: u64,
}

impl Cpus {
    pub(super) fn now() -> Result<Self> {
        Self::parse(&read("/proc/stat")?).context("the line of all CPUs in /proc/stat")
    }

    /// `proc_stat(5)`: `cpu user nice system idle iowait irq softirq steal guest guest_nice`; what
    /// guests took is in `user` and `nice` already.
    fn parse(stat: &str) -> Option<Self> {
        let ticks = stat.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = ticks
            .split_whitespace()
            .take(8)
            .map(|ticks| ticks.parse().ok())
            .collect::<Option<_>>()?;
        Some(Self {
            idle: ticks.get(3)?.checked_add(*ticks.get(4)?)?,
            all: ticks.iter().sum(),
        })
    }

    /// How much of their time they were not idle since an earlier look, in percent.
    pub(super) fn busy_percent_since(self, before: Self) -> u64 {
        let all = self.all.saturating_sub(before.all);
        let idle = self.idle.saturating_sub(before.idle);
        let busy = all.saturating_sub(idle).saturating_mul(100);
        busy.checked_div(all).unwrap_or_default()
    }
}

/// OOM kills of the whole machine so far, by the kernel's count.
pub(super) fn oom_kills() -> Result<u64> {
    field(&read("/proc/vmstat")?, "oom_kill ").context("oom_kill in /proc/vmstat")
}

fn field(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tbpftrace\nVmHWM:\t  104660 kB\nVmRSS:\t  104448 kB\n\
        RssAnon:\t   40960 kB\nRssFile:\t   63488 kB\n\
        voluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t7\n";

    #[test]
    fn memory_is_read() {
        let rollup = "5581-7ffc ---p 00000000 00:00 0 [rollup]\nRss:  104448 kB\nPss:  99000 kB\nPss_Anon:  40960 kB\n";
        let memory = Memory::parse(STATUS, rollup);
        assert_eq!(
            memory,
            Some(Memory {
                rss: 104_448,
                peak: 104_660,
                pss: 99_000,
                anon: 40_960
            })
        );
        assert_eq!(Memory::parse(STATUS, ""), None);
    }

    #[test]
    fn activity_is_both_kinds_of_switches() {
        let before = Activity::parse(STATUS, "12345 678 9\n").unwrap();
        assert_eq!((before.switches, before.cpu_ns), (157, 12_345));
        let after = Activity {
            switches: 160,
            cpu_ns: 12_345,
        };
        assert_eq!(after.since(before).switches, 3);
        assert_eq!(Activity::parse("Name:\tx\n", "1 2 3"), None);
    }

    #[test]
    fn idle_cpus_are_those_that_wait_too() {
        let before = Cpus::parse("cpu  10 0 10 100 20 0 0 5 0 0\ncpu0 1 2 3\n").unwrap();
        let after = Cpus::parse("cpu  20 0 30 140 30 0 0 25 0 0\n").unwrap();
        assert_eq!(after.busy_percent_since(before), 50);
        assert_eq!(before.busy_percent_since(before), 0);
        assert_eq!(Cpus::parse("cpu0 1 2 3 4 5\n"), None);
    }

    #[test]
    fn this_process_has_threads_and_memory() {
        let pid = std::process::id();
        assert!(Memory::read(pid).unwrap().rss > 0);
        assert!(Activity::read(pid).unwrap().switches > 0);
        oom_kills().unwrap();
        Cpus::now().unwrap();
    }
}
