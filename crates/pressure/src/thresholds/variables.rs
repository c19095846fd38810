use memcg::OomScores;

use crate::{Pressure, Sample, Stall};

/// The variables of an expression, mostly by the names that `OOMHero` has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variables {
    /// Usage and limit.
    pub sample: Sample,
    /// How the OOM killer ranks the container's processes.
    pub scores: OomScores,
}

/// The names, in the order of [`Variables::values`].
pub(super) const NAMES: [&str; COUNT] = [
    "memory_usage",
    "memory_current",
    "memory_max",
    "oom_score",
    "oom_score_adj",
    "memory_pressure_some_avg10",
    "memory_pressure_some_avg60",
    "memory_pressure_some_avg300",
    "memory_pressure_some_total",
    "memory_pressure_full_avg10",
    "memory_pressure_full_avg60",
    "memory_pressure_full_avg300",
    "memory_pressure_full_total",
    "io_pressure_some_avg10",
    "io_pressure_some_avg60",
    "io_pressure_some_avg300",
    "io_pressure_some_total",
    "io_pressure_full_avg10",
    "io_pressure_full_avg60",
    "io_pressure_full_avg300",
    "io_pressure_full_total",
    "cpu_pressure_some_avg10",
    "cpu_pressure_some_avg60",
    "cpu_pressure_some_avg300",
    "cpu_pressure_some_total",
    "cpu_pressure_full_avg10",
    "cpu_pressure_full_avg60",
    "cpu_pressure_full_avg300",
    "cpu_pressure_full_total",
    "memory_working_set_usage",
];
const COUNT: usize = 30;
const PRESSURE: usize = 5;
/// In percent of the limit, as `memory_usage`; ours.
pub(super) const WORKING_SET: usize = 29;
pub(super) const OOM_SCORE: [usize; 2] = [3, 4];

// === impl Variables ===

impl Variables {
    /// Without a limit its memory is 0, as with `OOMHero`; pressure is 0 where it is not known.
    pub(super) fn values(&self) -> [f64; COUNT] {
        let mut values = [0.0; COUNT];
        let Sample {
            limit,
            current,
            psi,
            ..
        } = self.sample;
        if let (Some(limit), Some(ratio)) = (limit, self.sample.ratio()) {
            let memory = [ratio * 100.0, float(current), float(limit)];
            put(&mut values, 0, memory);
        }
        if let Some(ratio) = self.sample.working_set_ratio() {
            put(&mut values, WORKING_SET, [ratio * 100.0]);
        }
        let scores = [self.scores.oom_score, self.scores.oom_score_adj];
        put(&mut values, OOM_SCORE[0], scores.map(f64::from));
        if let Some(Pressure { memory, io, cpu }) = psi {
            let stalls = [memory, io, cpu].into_iter().flat_map(stalled);
            put(&mut values, PRESSURE, stalls);
        }
        values
    }

    /// Adds so many points of the limit to what is used.
    pub(super) fn add_points(mut self, points: f64) -> Self {
        let limit = self.sample.limit.map_or(0.0, float);
        let more = (limit * points / 100.0).max(0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and a cast saturates"
        )]
        let more = more as u64;
        self.sample.current = self.sample.current.saturating_add(more);
        self.sample.working_set = self.sample.working_set.saturating_add(more);
        self
    }
}

fn put(values: &mut [f64; COUNT], from: usize, more: impl IntoIterator<Item = f64>) {
    for (value, more) in values.iter_mut().skip(from).zip(more) {
        *value = more;
    }
}

fn stalled(stall: Stall) -> impl Iterator<Item = f64> {
    [stall.some, stall.full].into_iter().flat_map(|of| {
        let percent = |hundredths: u32| f64::from(hundredths) / 100.0;
        [
            percent(of.avg10.0),
            percent(of.avg60.0),
            percent(of.avg300.0),
            float(of.total_us),
        ]
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "bytes of memory and µs of waiting stay below 2^53"
)]
fn float(number: u64) -> f64 {
    number as f64
}
