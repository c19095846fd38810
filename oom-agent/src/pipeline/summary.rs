//! The summary at shutdown: kills, losses and deliveries, for people.

use std::fmt;
use std::io::{self, Write as _};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use crate::metrics::{Metrics, SinkCounts, Totals};

/// How long a stalled standard error is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Summary {
    totals: Totals,
    sinks: Vec<(String, SinkCounts)>,
}

// === impl Summary ===

impl Summary {
    pub(super) fn from_metrics(metrics: &Metrics) -> Self {
        Self {
            totals: metrics.totals(),
            sinks: metrics.sinks(),
        }
    }

    /// Writes to the log and, on request, to standard error in a form for people.
    pub(super) fn write(&self, on_stderr: bool) {
        self.log();
        if !on_stderr {
            return;
        }
        // Standard error may be closed or stall; the log has the same.
        let (text, (written, wait)) = (self.to_string(), sync_channel(1));
        std::thread::spawn(move || {
            let _closed = io::stderr().write_all(text.as_bytes());
            let _late = written.send(());
        });
        let _stalls = wait.recv_timeout(PATIENCE);
    }

    fn log(&self) {
        let totals = &self.totals;
        tracing::info!(
            incidents = totals.incidents,
            waited = totals.waited,
            autopsied = totals.autopsied,
            already_exiting = totals.exiting,
            unseen = totals.unseen,
            counted = totals.counted,
            without_mark = totals.without_mark,
            without_cgroup = totals.without_cgroup,
            degraded = totals.degraded,
            not_written = totals.unwritten,
            lost = totals.lost,
            ring_full = totals.readings.ring_full,
            marks_full = totals.readings.marks_full,
            malformed = totals.readings.malformed,
            not_kept = totals.readings.not_kept,
            rings_discarded = totals.readings.rings_discarded,
            kernel_kills = totals.readings.kernel_kills,
            drift = totals.drift,
            "summary"
        );
        for (sink, counts) in &self.sinks {
            tracing::info!(
                sink,
                delivered = counts.delivered.get(),
                overflowed = counts.overflowed.get(),
                failed = counts.failed.get(),
                skipped = counts.skipped.get(),
                held_back = counts.held_back.get(),
                unfinished = counts.pending(),
                "summary of a sink"
            );
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = &self.totals;
        let number = |number: Option<i64>| number.map_or("unknown".to_owned(), |n| n.to_string());
        writeln!(
            f,
            "incidents       {:>8}  ({} degraded, {} group kills)",
            totals.incidents, totals.degraded, totals.groups
        )?;
        writeln!(
            f,
            "victims         {:>8}  read in their own context ({} already exiting, {} not read; {} without a mark, {} without a cgroup)",
            totals.autopsied,
            totals.exiting,
            totals.unseen,
            totals.without_mark,
            totals.without_cgroup
        )?;
        writeln!(
            f,
            "drops           {:>8}  ({} ring full, {} marks full, {} malformed, {} not written, {} lost)",
            totals.readings.ring_full
                + totals.readings.marks_full
                + totals.readings.malformed
                + totals.unwritten
                + totals.lost,
            totals.readings.ring_full,
            totals.readings.marks_full,
            totals.readings.malformed,
            totals.unwritten,
            totals.lost
        )?;
        writeln!(
            f,
            "drift           {:>8}  (the kernel counted {} kills: oom_kill of /proc/vmstat)",
            number(totals.drift),
            number(
                totals
                    .readings
                    .kernel_kills
                    .and_then(|kills| i64::try_from(kills).ok())
            )
        )?;
        for (sink, counts) in &self.sinks {
            writeln!(
                f,
                "{sink}: {} delivered, {} held back, {} overflowed, {} failed, {} unfinished",
                counts.delivered.get(),
                counts.held_back.get(),
                counts.overflowed.get(),
                counts.failed.get(),
                counts.pending()
            )?;
        }
        Ok(())
    }
}
