//! When a container is too near its memory limit: thresholds, cooldown, hysteresis. Pure.

mod error;
mod expression;
mod scan;
mod threshold;
mod tracker;
mod variables;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use error::ExpressionError;
pub use threshold::Threshold;
pub use tracker::{Crossing, Level, LevelTracker, Thresholds};
pub use variables::Variables;
