//! Now, by both clocks.

use std::time::Duration;

use jiff::Timestamp;

/// A point in time. What is stepped when the clock is set, as on a Pi without a battery, is
/// only asked about hours of the day and times that peers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// By the wall clock.
    pub(crate) wall: Timestamp,
    /// Since the desk was opened, by a clock that is never set.
    pub(crate) up: Duration,
}
