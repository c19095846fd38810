use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use oom_capture::probe::DropCounts;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::lock;

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
pub(super) struct External {
    last: Mutex<Readings>,
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

    pub(super) fn update(&self, read: impl FnOnce() -> Readings) {
        let mut last = lock(&self.last);
        *last = read();
    }

    pub(super) fn readings(&self) -> (Readings, Option<i64>) {
        let readings = *lock(&self.last);
        let counted = self.counted_kills.load(Ordering::Relaxed);
        let drift = |kills| {
            let kills = i64::try_from(kills).unwrap_or(i64::MAX);
            kills.saturating_sub_unsigned(counted)
        };
        (readings, readings.kernel_kills.map(drift))
    }
}

impl Collector for External {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (readings, drift) = self.readings();
        let drops = readings.drops;
        let mut lost = encoder.encode_descriptor(
            "lost",
            "Records and log lines that were lost, by where.",
            None,
            MetricType::Counter,
        )?;
        for (reason, count) in [
            ("ring-full", drops.ring_full),
            ("marks-full", drops.marks_full),
            ("malformed", drops.malformed),
            ("not-kept", drops.not_kept),
            ("ring-discarded", drops.discarded),
            ("log", readings.log_lines_dropped),
        ] {
            ConstCounter::new(count).encode(lost.encode_family(&[("reason", reason)])?)?;
        }
        // Where the kernel's count is not known neither metric is shown.
        if let Some(kills) = readings.kernel_kills {
            let help = "Kills that the kernel counted since the agent attached.";
            let kernel_kills =
                encoder.encode_descriptor("kernel_kills", help, None, MetricType::Counter)?;
            ConstCounter::new(kills).encode(kernel_kills)?;
        }
        if let Some(kills) = drift {
            let help = "Kills that the kernel counted and the agent did not see.";
            let drift = encoder.encode_descriptor("drift", help, None, MetricType::Gauge)?;
            ConstGauge::new(kills).encode(drift)?;
        }
        Ok(())
    }
}
