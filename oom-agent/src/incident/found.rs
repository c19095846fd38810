//! What the assembler finds: kills that belong together, as the kernel's records tell them.

use oom_agent_ebpf::Level;

use super::{Control, Trigger, Victim};

/// One OOM: a kill, or the kills of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The kernel's stamp of the first mark: `CLOCK_MONOTONIC`, in ns.
    pub stamp_ns: u64,
    /// Whose allocation it was; `None` when the mark was lost.
    pub trigger: Option<Trigger>,
    /// What `out_of_memory` was given, where that is seen.
    pub control: Option<Control>,
    /// Who was killed, in the order of their marks.
    pub killed: Vec<Killed>,
    /// What the records should have said of all of them and did not.
    pub degraded: Vec<String>,
}

/// One victim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Killed {
    /// The process or, where the tracepoint tells no more, the thread that was marked.
    pub marked: u32,
    /// The kernel's stamp of its mark.
    pub stamp_ns: u64,
    /// Only the pid is set when there was no autopsy.
    pub victim: Victim,
    /// How far it was seen.
    pub fate: Fate,
    /// It was on its way out before it was chosen: the kernel killed nothing.
    pub exiting: bool,
    /// Its memory cgroup and the ancestors, leaf first.
    pub levels: Vec<Level>,
    /// `field: reason` for what should be known of it.
    pub degraded: Vec<String>,
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
}

// === impl Found ===

impl Found {
    /// Whether a cgroup died as one (`memory.oom.group`), be it of a single process. Where the
    /// kernel's choice is exiting already it kills no group.
    pub fn is_group(&self) -> bool {
        let killed = |killed: &Killed| !killed.exiting && killed.group().is_some();
        self.killed.iter().any(killed)
    }
}

// === impl Killed ===

impl Killed {
    /// Takes over what only the other reading of the same victim has.
    pub(super) fn fill_from(&mut self, other: Self) {
        let (mine, theirs) = (&mut self.victim, other.victim);
        mine.comm = mine.comm.take().or(theirs.comm);
        mine.cmdline = mine.cmdline.take().or(theirs.cmdline);
        mine.parent_pid = mine.parent_pid.or(theirs.parent_pid);
        mine.namespace_pid = mine.namespace_pid.or(theirs.namespace_pid);
        mine.namespace_level = mine.namespace_level.or(theirs.namespace_level);
        mine.start_boot_ns = mine.start_boot_ns.or(theirs.start_boot_ns);
        mine.uid = mine.uid.or(theirs.uid);
        mine.oom_score_adj = mine.oom_score_adj.or(theirs.oom_score_adj);
        mine.rss_bytes = mine.rss_bytes.or(theirs.rss_bytes);
        mine.cgroup = mine.cgroup.take().or(theirs.cgroup);
        if self.levels.is_empty() {
            self.levels = other.levels;
        }
    }

    /// Says of every field that is still not known why.
    pub(super) fn say_missing(&mut self, reason: &str) {
        let victim = &self.victim;
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

    /// The cgroup that dies as one, by its path: the topmost ancestor with `memory.oom.group`.
    pub(super) fn group(&self) -> Option<&str> {
        let path = self.victim.cgroup.as_deref()?;
        let depth = self.levels.iter().rposition(|level| level.oom_group == 1)?;
        super::scope::ancestor(path, depth)
    }
}
