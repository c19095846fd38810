//! What was seen and what was lost, told when the agent ends.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::incident::{Fate, Found, Incident};
use crate::probe::Lost;
use crate::sinks::Counts;

#[derive(Default)]
pub(super) struct Summary {
    incidents: u64,
    groups: u64,
    autopsied: u64,
    exiting: u64,
    unseen: u64,
    without_mark: u64,
    without_cgroup: u64,
    degraded: u64,
    pub(super) unwritten: u64,
    pub(super) untold: u64,
    pub(super) lost: Lost,
    /// The kernel's own count of kills since the agent attached.
    pub(super) kernel_kills: Option<u64>,
    pub(super) sinks: Vec<(String, Arc<Counts>)>,
}

// === impl Summary ===

impl Summary {
    pub(super) fn found(&mut self, found: &Found) {
        self.groups += u64::from(found.is_group());
        self.without_mark += u64::from(found.trigger.is_none());
        for killed in &found.killed {
            let count = match killed.fate {
                _ if killed.exiting => &mut self.exiting,
                Fate::Autopsied | Fate::Outside => &mut self.autopsied,
                Fate::Unseen => &mut self.unseen,
            };
            *count += 1;
        }
    }

    pub(super) fn told(&mut self, incident: &Incident) {
        self.incidents += 1;
        self.degraded += u64::from(!incident.degraded.is_empty());
        let nowhere = |victim: &&crate::incident::Victim| victim.cgroup.is_none();
        self.without_cgroup += incident.victims.iter().filter(nowhere).count() as u64;
    }

    /// Kills that the kernel counted and the agent did not see; below zero when it is the other
    /// way round. The kernel counts no victim that was exiting already, and a group's first twice.
    fn drift(&self) -> Option<i64> {
        let seen = self.autopsied + self.unseen + self.groups;
        i64::try_from(self.kernel_kills?)
            .ok()?
            .checked_sub_unsigned(seen)
    }

    pub(super) fn log(&self) {
        tracing::info!(
            incidents = self.incidents,
            autopsied = self.autopsied,
            already_exiting = self.exiting,
            unseen = self.unseen,
            without_mark = self.without_mark,
            without_cgroup = self.without_cgroup,
            degraded = self.degraded,
            not_written = self.unwritten,
            lost = self.untold,
            ring_full = self.lost.ring_full,
            marks_full = self.lost.marks_full,
            malformed = self.lost.malformed,
            kernel_kills = self.kernel_kills,
            drift = self.drift(),
            "summary"
        );
        for (sink, counts) in &self.sinks {
            tracing::info!(
                sink,
                delivered = counts.delivered.load(Ordering::Relaxed),
                overflowed = counts.overflowed.load(Ordering::Relaxed),
                failed = counts.failed.load(Ordering::Relaxed),
                skipped = counts.skipped.load(Ordering::Relaxed),
                unfinished = counts.pending(),
                "summary of a sink"
            );
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<i64>| number.map_or("unknown".to_owned(), |n| n.to_string());
        writeln!(
            f,
            "incidents       {:>8}  ({} degraded, {} group kills)",
            self.incidents, self.degraded, self.groups
        )?;
        writeln!(
            f,
            "victims         {:>8}  read in their own context ({} already exiting, {} not read; {} without a mark, {} without a cgroup)",
            self.autopsied, self.exiting, self.unseen, self.without_mark, self.without_cgroup
        )?;
        writeln!(
            f,
            "drops           {:>8}  ({} ring full, {} marks full, {} malformed, {} not written, {} untold)",
            self.lost.ring_full
                + self.lost.marks_full
                + self.lost.malformed
                + self.unwritten
                + self.untold,
            self.lost.ring_full,
            self.lost.marks_full,
            self.lost.malformed,
            self.unwritten,
            self.untold
        )?;
        writeln!(
            f,
            "drift           {:>8}  (the kernel counted {} kills: oom_kill of /proc/vmstat)",
            number(self.drift()),
            number(
                self.kernel_kills
                    .and_then(|kills| i64::try_from(kills).ok())
            )
        )?;
        for (sink, counts) in &self.sinks {
            writeln!(
                f,
                "{sink}: {} delivered, {} overflowed, {} failed, {} unfinished",
                counts.delivered.load(Ordering::Relaxed),
                counts.overflowed.load(Ordering::Relaxed),
                counts.failed.load(Ordering::Relaxed),
                counts.pending()
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_knows_how_the_kernel_counts() {
        let mut summary = Summary {
            autopsied: 5,
            unseen: 1,
            exiting: 2,
            groups: 1,
            kernel_kills: Some(7),
            ..Summary::default()
        };
        assert_eq!(summary.drift(), Some(0));
        summary.kernel_kills = Some(9);
        assert_eq!(summary.drift(), Some(2));
        summary.kernel_kills = None;
        assert_eq!(summary.drift(), None);
    }
}
