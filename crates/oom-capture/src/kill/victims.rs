//! What the assembler finds: kills that belong together, as the kernel's records tell them.

use oom_agent_ebpf::{LISTED, Level};

use super::{Control, Process, Trigger};

/// Stamps that are kept of one OOM, to settle its kills.
const STAMPS: usize = 1 << 16;

/// One OOM: a kill, or the kills of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kill {
    /// The kernel's stamp of the first mark: `CLOCK_MONOTONIC`, in ns.
    pub stamp_ns: u64,
    /// Whose allocation it was; `None` when the mark was lost.
    pub trigger: Option<Trigger>,
    /// What `out_of_memory` was given, where that is seen.
    pub control: Option<Control>,
    /// Who was killed, in the order of their marks: 256 at most.
    pub victims: Vec<Victim>,
    /// How many more were.
    pub more: Unlisted,
    /// How many the kernel has marked, where that is known: records can be lost.
    pub marked: u64,
    /// The stamps of all of them.
    pub stamps: Vec<u64>,
    /// The end of its invocation of `out_of_memory` will be seen.
    pub end_follows: bool,
    /// The kernel counted its first victim twice, as it does when it kills that one's group.
    pub first_twice: bool,
}

/// Victims that are only counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unlisted {
    /// By [`Fate`].
    pub autopsied: u64,
    /// By [`Fate`].
    pub outside: u64,
    /// By [`Fate`].
    pub unseen: u64,
    /// By [`Fate`].
    pub counted: u64,
    /// Those that were exiting already, however they were seen.
    pub exiting: u64,
}

/// One victim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Victim {
    /// The process or, where the tracepoint tells no more, the thread that was marked.
    pub marked: u32,
    /// The kernel's stamp of its mark.
    pub stamp_ns: u64,
    /// Only the pid is set when there was no autopsy.
    pub process: Process,
    /// How far it was seen.
    pub fate: Fate,
    /// It was on its way out before it was chosen: the kernel killed nothing.
    pub exiting: bool,
    /// Its memory cgroup and the ancestors, leaf first.
    pub levels: Vec<Level>,
    /// The path of the cgroup that died as one with it.
    pub group: Option<String>,
    /// How many levels above its cgroup the nearest one is that its parent is in, too.
    pub parent_above: Option<u32>,
    /// The same of the first process of its PID namespace.
    pub reaper_above: Option<u32>,
    /// Why something is known in part only, or all of it was read in another way than it should be.
    pub degraded: Vec<String>,
    /// Why what is not known of it is not: of each source that was asked.
    pub missing: Vec<String>,
}

/// How far a victim was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// It was read in its own context, or at its exit.
    Autopsied,
    /// It was read by the trigger, when it was marked: all but its command line.
    Outside,
    /// Neither was seen in time.
    #[default]
    Unseen,
    /// It was not read, as enough of its group were.
    Counted,
}

// === impl Kill ===

impl Kill {
    /// Whether a cgroup died as one (`memory.oom.group`), be it of a single process. Where the
    /// kernel's choice is exiting already it kills no group.
    pub fn is_group(&self) -> bool {
        let victim = |victim: &Victim| !victim.exiting && victim.group.is_some();
        self.victim_count() > 1 || self.victims.iter().any(victim)
    }

    /// How many were killed.
    pub fn victim_count(&self) -> u64 {
        self.seen().max(self.marked)
    }

    /// Of how many a record has come.
    fn seen(&self) -> u64 {
        self.victims.len() as u64 + self.more.count()
    }

    /// By how much this has raised the kernel's own count of kills, `oom_kill` of /proc/vmstat.
    pub fn counted_by_kernel(&self) -> u64 {
        let exiting = self.victims.iter().filter(|victim| victim.exiting).count() as u64;
        self.seen() - exiting - self.more.exiting + u64::from(self.first_twice)
    }

    /// Takes in another kill of the same OOM.
    pub(super) fn fold(&mut self, other: Self) {
        self.stamp_ns = self.stamp_ns.min(other.stamp_ns);
        self.trigger = self.trigger.take().or(other.trigger);
        self.control = self.control.take().or(other.control);
        for victim in other.victims {
            // Where a mark names a thread, a process can be marked by two of them. It dies once.
            if self
                .victims
                .iter()
                .any(|known| known.is_process_of(&victim))
            {
                self.first_twice = true;
            } else {
                self.victims.push(victim);
            }
        }
        let room = STAMPS.saturating_sub(self.stamps.len());
        self.stamps.extend(other.stamps.into_iter().take(room));
        self.victims.sort_by_key(|victim| victim.stamp_ns);
        let listed = LISTED as usize;
        while self.victims.len() > listed {
            // What becomes of the container is told by its first process: that one stays.
            let last = self.victims.iter().rposition(|victim| !victim.is_reaper());
            let last = last.unwrap_or(listed);
            self.more.add(&self.victims.remove(last));
        }
    }
}

// === impl Unlisted ===

impl Unlisted {
    /// All of them.
    pub fn count(&self) -> u64 {
        self.autopsied + self.outside + self.unseen + self.counted + self.exiting
    }

    fn add(&mut self, victim: &Victim) {
        let count = match victim.fate {
            _ if victim.exiting => &mut self.exiting,
            Fate::Autopsied => &mut self.autopsied,
            Fate::Outside => &mut self.outside,
            Fate::Unseen => &mut self.unseen,
            Fate::Counted => &mut self.counted,
        };
        *count += 1;
    }
}

// === impl Victim ===

impl Victim {
    /// Takes over what only the other reading of the same victim has; and what it held, as the other is
    /// from when it was marked, and it may have given that back since.
    pub(super) fn fill_from(&mut self, other: Self) {
        let (mine, theirs) = (&mut self.process, other.process);
        mine.comm = mine.comm.take().or(theirs.comm);
        mine.cmdline = mine.cmdline.take().or(theirs.cmdline);
        mine.parent_pid = mine.parent_pid.or(theirs.parent_pid);
        mine.namespace_pid = mine.namespace_pid.or(theirs.namespace_pid);
        mine.namespace_level = mine.namespace_level.or(theirs.namespace_level);
        mine.start_boot_ns = mine.start_boot_ns.or(theirs.start_boot_ns);
        mine.uid = mine.uid.or(theirs.uid);
        mine.oom_score_adj = mine.oom_score_adj.or(theirs.oom_score_adj);
        mine.rss_bytes = theirs.rss_bytes.or(mine.rss_bytes);
        mine.cgroup = mine.cgroup.take().or(theirs.cgroup);
        self.parent_above = self.parent_above.or(other.parent_above);
        self.reaper_above = self.reaper_above.or(other.reaper_above);
        if !other.levels.is_empty() {
            self.levels = other.levels;
        }
    }

    /// Says of every field that is not known why. To be called when all sources have been asked:
    /// what a later one tells is known.
    pub fn say_missing(&mut self) {
        if self.missing.is_empty() {
            return;
        }
        let reason = self.missing.join("; ");
        let victim = &self.process;
        let missing = [
            ("comm", victim.comm.is_none()),
            ("parent_pid", victim.parent_pid.is_none()),
            ("namespace_pid", victim.namespace_pid.is_none()),
            ("start_boot_ns", victim.start_boot_ns.is_none()),
            ("uid", victim.uid.is_none()),
            ("oom_score_adj", victim.oom_score_adj.is_none()),
            ("rss_bytes", victim.rss_bytes.is_none()),
            ("cgroup", victim.cgroup.is_none()),
            ("cmdline", victim.cmdline.is_none()),
        ];
        for (field, missing) in missing {
            let said = self.degraded.iter().any(|entry| {
                entry
                    .strip_prefix(field)
                    .is_some_and(|rest| rest.starts_with(':'))
            });
            if missing && !said {
                self.degraded.push(format!("{field}: {reason}"));
            }
        }
    }

    /// Whether it is the first process of its PID namespace, be it a container's or one within.
    pub fn is_reaper(&self) -> bool {
        let victim = &self.process;
        victim.namespace_level.is_some_and(|level| level > 0) && victim.namespace_pid == Some(1)
    }

    fn is_process_of(&self, other: &Self) -> bool {
        let (one, two) = (&self.process, &other.process);
        one.pid == two.pid && one.start_boot_ns.is_some() && one.start_boot_ns == two.start_boot_ns
    }
}
