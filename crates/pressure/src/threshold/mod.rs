//! When a container is too near its memory limit: marks, cooldown, hysteresis. Pure.

mod expression;
mod mark;
mod scan;
mod watch;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use expression::{BadExpression, Expression, Figures, Mistake, Scores};
pub use mark::Mark;
pub use watch::{Crossing, Level, Settings, Watch};
