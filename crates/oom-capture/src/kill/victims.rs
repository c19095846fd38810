//! A kill and its victims.

use oom_agent_ebpf::{LISTED, Level};

use super::process::{Process, Trigger};

/// The most stamps of one kill.
const STAMPS: usize = 1 << 16;

/// One decision of the OOM killer, with its victim, or with all victims of a `memory.oom.group`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kill {
    /// The kernel's stamp of the first mark: `CLOCK_MONOTONIC`, in ns.
    pub stamp_ns: u64,
    /// `None` when the mark's record was lost.
    pub trigger: Option<Trigger>,
    /// `None` where `out_of_memory` is not probed.
    pub control: Option<OomControl>,
    /// In the order of their marks, 256 at most.
    pub victims: Vec<Victim>,
    /// The victims beyond those.
    pub unlisted: UnlistedVictims,
    /// How many victims the kernel marked, where that is known: records can be lost.
    pub marked: u64,
    /// The stamps of all marks.
    pub stamps: Vec<u64>,
    /// A program is attached to the return of `out_of_memory`, so the end of the invocation will be recorded.
    pub end_follows: bool,
    /// The kernel counted the first victim twice, as it does when it kills that victim's group.
    pub first_twice: bool,
}

/// The `struct oom_control` that `out_of_memory` was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OomControl {
    /// When `out_of_memory` was entered; the same for all kills of one invocation.
    pub invocation_ns: u64,
    /// The path of `oom_control.memcg`; `None` when it could not be read.
    pub memcg: Option<String>,
    /// `oom_control.memcg` was null.
    pub node: bool,
    /// The limit of that cgroup, in pages.
    pub limit_pages: Option<u64>,
    /// `oom_control.totalpages`.
    pub total_pages: u64,
    /// `oom_control.gfp_mask`.
    pub gfp_mask: u32,
    /// `oom_control.order`.
    pub order: i32,
    /// `oom_control.constraint`.
    pub constraint: u32,
}

/// Victims that are only counted, by their [`Reading`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnlistedVictims {
    /// [`Reading::Autopsied`].
    pub autopsied: u64,
    /// [`Reading::Outside`].
    pub outside: u64,
    /// [`Reading::Unseen`].
    pub unseen: u64,
    /// [`Reading::Counted`].
    pub counted: u64,
    /// Those that were exiting already, with any reading.
    pub exiting: u64,
}

/// A process that the kernel chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Victim {
    /// The process that was marked, or the thread where the tracepoint has no more.
    pub marked_pid: u32,
    /// The kernel's stamp of its mark.
    pub stamp_ns: u64,
    /// Only the pid is known without an autopsy.
    pub process: Process,
    /// How it was read.
    pub reading: Reading,
    /// It was exiting before it was chosen: the kernel killed nothing.
    pub exiting: bool,
    /// The page counters of its memory cgroup and the ancestors, leaf first.
    pub levels: Vec<Level>,
    /// The path of the cgroup that died as one with it.
    pub group: Option<String>,
    /// How many levels above its cgroup the nearest one is that also contains its parent process.
    pub parent_above: Option<u32>,
    /// The same for the first process of its PID namespace.
    pub reaper_above: Option<u32>,
    /// Fields that are incomplete or were read in a fallback way, each with the reason.
    pub degraded: Vec<String>,
    /// Why each source that was read lacks fields; see [`note_missing_fields`](Self::note_missing_fields).
    pub missing: Vec<String>,
}

/// How a victim was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reading {
    /// In its own context, or at its exit.
    Autopsied,
    /// By the trigger at the mark: all but the command line.
    Outside,
    /// Not at all: neither record came in time.
    #[default]
    Unseen,
    /// Not at all, because enough victims of its group were.
    Counted,
}

// === impl Kill ===

impl Kill {
    /// Whether a cgroup died as one (`memory.oom.group`), if only with a single process. The kernel kills no group
    /// where its choice is exiting already.
    pub fn is_group(&self) -> bool {
        let victim = |victim: &Victim| !victim.exiting && victim.group.is_some();
        self.victim_count() > 1 || self.victims.iter().any(victim)
    }

    /// How many processes were killed.
    pub fn victim_count(&self) -> u64 {
        self.recorded().max(self.marked)
    }

    /// How many victims have a record.
    fn recorded(&self) -> u64 {
        self.victims.len() as u64 + self.unlisted.count()
    }

    /// By how much this kill raised the kernel's own count, `oom_kill` of /proc/vmstat.
    pub fn counted_by_kernel(&self) -> u64 {
        let exiting = self.victims.iter().filter(|victim| victim.exiting).count() as u64;
        self.recorded() - exiting - self.unlisted.exiting + u64::from(self.first_twice)
    }

    /// Adds another kill of the same invocation.
    pub(super) fn fold(&mut self, other: Self) {
        self.stamp_ns = self.stamp_ns.min(other.stamp_ns);
        self.trigger = self.trigger.take().or(other.trigger);
        self.control = self.control.take().or(other.control);
        for victim in other.victims {
            // Where a mark names a thread, two marks can be of one process.
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
            // The first process stays listed: its death is the container's.
            let last = self.victims.iter().rposition(|victim| !victim.is_reaper());
            let last = last.unwrap_or(listed);
            self.unlisted.add(&self.victims.remove(last));
        }
    }
}

// === impl UnlistedVictims ===

impl UnlistedVictims {
    fn count(&self) -> u64 {
        self.autopsied + self.outside + self.unseen + self.counted + self.exiting
    }

    fn add(&mut self, victim: &Victim) {
        let count = match victim.reading {
            _ if victim.exiting => &mut self.exiting,
            Reading::Autopsied => &mut self.autopsied,
            Reading::Outside => &mut self.outside,
            Reading::Unseen => &mut self.unseen,
            Reading::Counted => &mut self.counted,
        };
        *count += 1;
    }
}

// === impl Victim ===

impl Victim {
    /// Takes over what only the trigger's reading of the same victim has, and its memory: that reading is from the
    /// mark, and the victim may have freed memory since.
    pub(super) fn fill_from(&mut self, other: Self) {
        self.process.rss_bytes = other.process.rss_bytes.or(self.process.rss_bytes);
        self.process.fill_from(other.process);
        self.parent_above = self.parent_above.or(other.parent_above);
        self.reaper_above = self.reaper_above.or(other.reaper_above);
        if !other.levels.is_empty() {
            self.levels = other.levels;
        }
    }

    /// Notes in [`degraded`](Self::degraded) why each missing field is missing. To be called after the last source
    /// was read, as each can fill fields.
    pub fn note_missing_fields(&mut self) {
        if self.missing.is_empty() {
            return;
        }
        let reason = self.missing.join("; ");
        for field in self.process.missing_fields() {
            let is_noted = self.degraded.iter().any(|entry| {
                entry
                    .strip_prefix(field)
                    .is_some_and(|rest| rest.starts_with(':'))
            });
            if !is_noted {
                self.degraded.push(format!("{field}: {reason}"));
            }
        }
    }

    /// Whether it is the first process of a PID namespace other than the host's.
    pub fn is_reaper(&self) -> bool {
        let victim = &self.process;
        victim.namespace_level.is_some_and(|level| level > 0) && victim.namespace_pid == Some(1)
    }

    fn is_process_of(&self, other: &Self) -> bool {
        let (one, two) = (&self.process, &other.process);
        one.pid == two.pid && one.start_boot_ns.is_some() && one.start_boot_ns == two.start_boot_ns
    }
}
