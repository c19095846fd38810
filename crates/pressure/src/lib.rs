//! How near containers are to their memory limits, before anything is killed: `docs/pressure.md`.
//!
//! One thread, the [`Sampler`], measures every container with a limit once a second, and sooner those that
//! change fast; without any it sleeps until the kernel notifies of one. Each [`Sweep`] goes to a closure:
//! [`FlightRecorder`] keeps the last minute of each container and makes its [`History`] at a kill, and
//! [`LevelTracker`] compares a [`Sample`] with [`Thresholds`]. What decides is pure: `pace`, `stuck`, `growth`,
//! `thresholds` and the flight recorder.

mod cgroup;
mod counts;
mod flight_recorder;
mod growth;
mod history;
mod latest;
mod notifications;
mod pace;
mod period;
mod sample;
mod sampler;
mod stuck;
mod table;
mod thresholds;
mod tree;

pub use counts::Counts;
pub use flight_recorder::{FlightRecorder, Forecast};
pub use history::{GrowthPattern, History};
pub use latest::LatestSamples;
pub use period::{BadPeriod, SamplePeriod};
pub use sample::{CgroupKey, OnContainer, OnSweep, Pressure, Sample, Stall, Sweep};
pub use sampler::{Sampler, SamplerError};
pub use stuck::NoVictimCause;
pub use thresholds::{
    Crossing, ExpressionError, Level, LevelTracker, Threshold, Thresholds, Variables,
};
pub use tree::Source;

#[cfg(test)]
mod tests;
