use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use oom_capture::probe::DropCounts;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::collector::{encode_family, encode_one};

/// Values that are counted elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readings {
    pub(crate) drops: DropCounts,
    /// Lines that the log dropped.
    pub(crate) log_lines_dropped: u64,
    /// The kernel's own count of kills since the agent attached; `None` where it cannot be read.
    pub(crate) kernel_kills: Option<u64>,
}

/// The readings, and what is compared with them.
#[derive(Debug, Default)]
pub(crate) struct External {
    last: Mutex<(Readings, Option<i64>)>,
    /// By how much the incidents raise the kernel's own count.
    counted_kills: AtomicU64,
}

// === impl External ===

impl External {
    pub(super) fn new(registry: &mut Registry) -> Arc<Self> {
        let this = Arc::<Self>::default();
        registry.register_collector(Box::new(Arc::clone(&this)));
        this
    }

    pub(super) fn count_kills(&self, kills: u64) {
        self.counted_kills.fetch_add(kills, Ordering::Relaxed);
    }

    /// Reads what is counted elsewhere; one reading after the other, as counters may not fall.
    pub(crate) fn update(&self, read: impl FnOnce() -> Readings) {
        let mut last = self.last.lock();
        let mut now = read();
        // Kills go on: both sides of the drift are of one moment.
        let counted = self.counted_kills.load(Ordering::Relaxed);
        let drift = |kills| {
            let kills = i64::try_from(kills).unwrap_or(i64::MAX);
            kills.saturating_sub_unsigned(counted)
        };
        // Of a map that cannot be read they are 0.
        let (drops, before) = (&mut now.drops, last.0.drops);
        drops.ring_full = drops.ring_full.max(before.ring_full);
        drops.marks_full = drops.marks_full.max(before.marks_full);
        *last = (now, now.kernel_kills.map(drift));
    }

    /// As they were read last, and the kills that the kernel counted and the agent did not see.
    pub(crate) fn readings(&self) -> (Readings, Option<i64>) {
        *self.last.lock()
    }
}

impl Collector for External {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (readings, drift) = self.readings();
        let drops = readings.drops;
        let lost = [
            ("ring-full", drops.ring_full),
            ("marks-full", drops.marks_full),
            ("malformed", drops.malformed),
            ("not-kept", drops.not_kept),
            ("ring-discarded", drops.discarded),
            ("log", readings.log_lines_dropped),
        ];
        let lost = lost.map(|(reason, count)| ([("reason", reason)], ConstCounter::new(count)));
        let help = "Records and log lines that were lost, by where.";
        encode_family(&mut encoder, "lost", help, lost)?;
        // Where the kernel's count is not known neither metric is shown.
        if let Some((kills, drift)) = readings.kernel_kills.zip(drift) {
            let help = "Kills that the kernel counted since the agent attached.";
            encode_one(
                &mut encoder,
                "kernel_kills",
                help,
                &ConstCounter::new(kills),
            )?;
            let help = "Kills that the kernel counted and the agent did not see.";
            encode_one(&mut encoder, "drift", help, &ConstGauge::new(drift))?;
        }
        Ok(())
    }
}
