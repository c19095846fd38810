//! The time by both clocks.

use std::time::Duration;

use jiff::Timestamp;

/// The wall clock jumps when it is set, as on a Pi without a battery; it serves only hours of the
/// day and times of peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) wall: Timestamp,
    /// Since the start, by the monotonic clock.
    pub(crate) up: Duration,
}
