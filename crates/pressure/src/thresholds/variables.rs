use memcg::OomScores;

use crate::{Sample, Stall};

/// The variables of an expression, mostly by the names that `OOMHero` has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variables {
    /// Usage and limit.
    pub sample: Sample,
    /// How the OOM killer ranks the container's processes.
    pub scores: OomScores,
}

/// The first names, in the order of [`Variables::values`]. Those of pressure follow.
const NAMES: [&str; 6] = [
    "memory_usage",
    "memory_current",
    "memory_max",
    "oom_score",
    "oom_score_adj",
    "memory_working_set_usage",
];
pub(super) const OOM_SCORE: [usize; 2] = [3, 4];
/// In percent of the limit, as `memory_usage`; ours.
pub(super) const WORKING_SET: usize = 5;

// The parts of pressure's names, as in `memory_pressure_some_avg10`.
const RESOURCES: [&str; 3] = ["memory", "io", "cpu"];
const STALLS: [&str; 2] = ["some", "full"];
const WINDOWS: [&str; 4] = ["avg10", "avg60", "avg300", "total"];

/// The index in [`Variables::values`] of the variable of that name.
pub(super) fn find_variable(name: &str) -> Option<usize> {
    let position = |names: &[&str], name| names.iter().position(|known| *known == name);
    position(&NAMES, name).or_else(|| {
        let (resource, rest) = name.split_once("_pressure_")?;
        let (stall, window) = rest.split_once('_')?;
        let stalls = position(&RESOURCES, resource)? * STALLS.len() + position(&STALLS, stall)?;
        Some(NAMES.len() + stalls * WINDOWS.len() + position(&WINDOWS, window)?)
    })
}

// === impl Variables ===

impl Variables {
    /// Without a limit its memory is 0, as with `OOMHero`; pressure is 0, or left out, where it is not known.
    pub(super) fn values(&self) -> Vec<f64> {
        let sample = &self.sample;
        let percent = |ratio: Option<f64>| ratio.unwrap_or_default() * 100.0;
        let limit = sample.limit.filter(|limit| *limit > 0);
        let pressure = sample.psi.map(|psi| [psi.memory, psi.io, psi.cpu]);
        let mut values = vec![
            percent(sample.ratio()),
            limit.map_or(0.0, |_| float(sample.current)),
            limit.map_or(0.0, float),
            f64::from(self.scores.oom_score),
            f64::from(self.scores.oom_score_adj),
            percent(sample.working_set_ratio()),
        ];
        values.extend(pressure.into_iter().flatten().flat_map(stalled));
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
