//! The flight recorder: the last minute of every watched cgroup's memory, in a fixed space.

mod ring;
mod rings;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::growth::{Sample, forecast, forecast_near, judge};
use super::usage::{Key, Usage};
use crate::history::{Before, SAMPLES};
use rings::Rings;

/// Written by the sampler, asked at a kill; a clone is the same recorder. Nobody holds it for longer
/// than one ring takes to copy, but for the rare [`forecasts`](Self::forecasts).
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Rings>>);

/// When a cgroup's memory comes to its limit if it goes on like this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// From the hierarchy's root on.
    pub cgroup: Arc<str>,
    /// From its last sample on.
    pub to_limit: Duration,
}

// === impl Recorder ===

impl Recorder {
    /// Takes what a pass has read. What finds no room is counted.
    pub fn take(&self, usages: &[(Key, Usage)]) {
        for (key, usage) in usages {
            // Each for itself: a kill does not wait for the whole pass.
            self.rings().take(key, usage);
        }
    }

    /// How `cgroup` came to its kill, of which the kernel's stamp is `stamp_ns` (`CLOCK_MONOTONIC`).
    /// `usage` is what was charged to it then, `limit` its limit, where they are known. `None` where
    /// nothing was seen of it.
    pub fn before(
        &self,
        cgroup: &str,
        stamp_ns: u64,
        usage: Option<u64>,
        limit: Option<u64>,
    ) -> Option<Before> {
        let past = self.rings().before(cgroup, stamp_ns)?;
        let stamp_ms = stamp_ns / 1_000_000;
        let mut samples = past.samples;
        samples.extend(usage.map(|bytes| Sample {
            at_ms: stamp_ms,
            bytes,
        }));
        samples.drain(..samples.len().saturating_sub(SAMPLES));
        let limit = limit.or(past.limit);
        let judged = judge(&samples, limit);
        let told = |sample: &Sample| (stamp_ms.saturating_sub(sample.at_ms), sample.bytes);
        Some(Before {
            cgroup: cgroup.to_owned(),
            limit_bytes: limit,
            samples: samples.iter().map(told).collect(),
            slope_bytes_per_second: judged.slope,
            half_to_limit_ms: judged
                .half_to_limit
                .and_then(|time| time.as_millis().try_into().ok()),
            verdict: judged.growth,
        })
    }

    /// When `cgroup`, which has come near its limit, is there; `None` while it does not grow, or has none.
    pub fn forecast(&self, cgroup: &str, now_ns: u64) -> Option<Duration> {
        let past = self.rings().now(cgroup, now_ns)?;
        forecast_near(&past.samples, past.limit?)
    }

    /// Of all that grow and are still there. Copies all rings, so it is for who asks a few times a
    /// minute.
    pub fn forecasts(&self, now_ns: u64) -> Vec<Forecast> {
        let all = self.rings().all(now_ns);
        let one = |(cgroup, past): (Arc<str>, rings::Past)| {
            let to_limit = forecast(&past.samples, past.limit?)?;
            Some(Forecast { cgroup, to_limit })
        };
        all.into_iter().filter_map(one).collect()
    }

    /// Samples that found no room so far.
    pub fn refused(&self) -> u64 {
        self.rings().refused()
    }

    fn rings(&self) -> MutexGuard<'_, Rings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
