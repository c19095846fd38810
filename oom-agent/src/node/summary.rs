//! The summary at shutdown: kills, losses and deliveries, for people.

use std::fmt;
use std::io::{self, Write as _};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use crate::metrics::Metrics;

/// How long a stalled standard error is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Summary<'a>(pub(super) &'a Metrics);

// === impl Summary ===

impl Summary<'_> {
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
        let (metrics, (readings, drift)) = (self.0, self.0.external.readings());
        tracing::info!(
            incidents = metrics.incidents.get(),
            waited = metrics.waited.get(),
            autopsied = metrics.fates.read(),
            already_exiting = metrics.fates.exiting.get(),
            unseen = metrics.fates.unseen.get(),
            counted = metrics.fates.counted.get(),
            without_mark = metrics.without_mark.get(),
            without_cgroup = metrics.without_cgroup.get(),
            degraded = metrics.degraded_incidents.get(),
            not_written = metrics.lines_unwritten.get(),
            lost = metrics.incidents_lost.get(),
            ring_full = readings.drops.ring_full,
            marks_full = readings.drops.marks_full,
            malformed = readings.drops.malformed,
            not_kept = readings.drops.not_kept,
            rings_discarded = readings.drops.discarded,
            kernel_kills = readings.kernel_kills,
            drift,
            "summary"
        );
        for (sink, counts) in metrics.sinks.all() {
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

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (metrics, (readings, drift)) = (self.0, self.0.external.readings());
        let drops = readings.drops;
        let (unwritten, lost) = (metrics.lines_unwritten.get(), metrics.incidents_lost.get());
        writeln!(
            f,
            "incidents       {:>8}  ({} degraded, {} group kills)",
            metrics.incidents.get(),
            metrics.degraded_incidents.get(),
            metrics.groups.get()
        )?;
        writeln!(
            f,
            "victims         {:>8}  read in their own context ({} already exiting, {} not read; {} without a mark, {} without a cgroup)",
            metrics.fates.read(),
            metrics.fates.exiting.get(),
            metrics.fates.unseen.get(),
            metrics.without_mark.get(),
            metrics.without_cgroup.get()
        )?;
        writeln!(
            f,
            "drops           {:>8}  ({} ring full, {} marks full, {} malformed, {unwritten} not written, {lost} lost)",
            drops.ring_full + drops.marks_full + drops.malformed + unwritten + lost,
            drops.ring_full,
            drops.marks_full,
            drops.malformed
        )?;
        writeln!(
            f,
            "drift           {:>8}  (the kernel counted {} kills: oom_kill of /proc/vmstat)",
            or_unknown(drift),
            or_unknown(readings.kernel_kills)
        )?;
        for (sink, counts) in metrics.sinks.all() {
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

fn or_unknown(number: Option<impl ToString>) -> String {
    number.map_or("unknown".to_owned(), |number| number.to_string())
}
