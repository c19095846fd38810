//! The last minute of every watched cgroup's memory, in a fixed space.

mod ring;
mod rings;

#[cfg(test)]
mod recorded;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::growth::{Point, classify_growth, forecast, forecast_near};
use super::sample::{CgroupKey, Sample};
use crate::history::{History, SAMPLES};
use rings::Rings;

/// Written by the sampler, read at a kill; a clone is the same recorder. It is locked for no longer than one
/// ring takes to copy, but for the rare [`forecasts`](Self::forecasts).
#[derive(Clone, Debug, Default)]
pub struct FlightRecorder(Arc<Mutex<Rings>>);

/// When a cgroup's memory comes to its limit if it goes on like this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// From the hierarchy's root on.
    pub cgroup: Arc<str>,
    /// From its last sample on.
    pub to_limit: Duration,
}

// === impl FlightRecorder ===

impl FlightRecorder {
    /// Records what a sweep has read. What finds no room is counted.
    pub fn record(&self, samples: &[(CgroupKey, Sample)]) {
        for (key, sample) in samples {
            // Each for itself: a kill does not wait for the whole sweep.
            self.rings().record(key, sample);
        }
    }

    /// How `cgroup` came to its kill, of which the kernel's stamp is `stamp_ns` (`CLOCK_MONOTONIC`).
    /// `usage` is what was charged to it then, `limit` its limit, where they are known. `None` where
    /// nothing was recorded of it.
    pub fn history(
        &self,
        cgroup: &str,
        stamp_ns: u64,
        usage: Option<u64>,
        limit: Option<u64>,
    ) -> Option<History> {
        let past = self.rings().since_last_kill(cgroup, stamp_ns)?;
        let stamp_ms = stamp_ns / 1_000_000;
        let mut points = past.points;
        points.extend(usage.map(|bytes| Point {
            at_ms: stamp_ms,
            bytes,
        }));
        points.drain(..points.len().saturating_sub(SAMPLES));
        let limit = limit.or(past.limit);
        let growth = classify_growth(&points, limit);
        let with_age = |point: &Point| (stamp_ms.saturating_sub(point.at_ms), point.bytes);
        Some(History {
            cgroup: cgroup.to_owned(),
            limit_bytes: limit,
            samples: points.iter().map(with_age).collect(),
            slope_bytes_per_second: growth.slope,
            half_to_limit_ms: growth
                .half_to_limit
                .and_then(|time| time.as_millis().try_into().ok()),
            pattern: growth.pattern,
        })
    }

    /// When `cgroup`, which has come near its limit, is there; `None` while it does not grow, or has none.
    pub fn forecast(&self, cgroup: &str, now_ns: u64) -> Option<Duration> {
        let past = self.rings().now(cgroup, now_ns)?;
        forecast_near(&past.points, past.limit?)
    }

    /// Of all that grow and are still there. Copies all rings: not to be called more than a few times a
    /// minute.
    pub fn forecasts(&self, now_ns: u64) -> Vec<Forecast> {
        let all = self.rings().all(now_ns);
        let one = |(cgroup, past): (Arc<str>, rings::Past)| {
            let to_limit = forecast(&past.points, past.limit?)?;
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
