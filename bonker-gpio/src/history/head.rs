//! What the database keeps beside the swings, and its batches.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::board::Board;
use super::swing::{Position, Swing};

/// Answers that wait to be written: more than the admission remembers make no sense.
pub(super) const MAX_ANSWERS: usize = 4096;

/// Written as a whole in the transaction of the swings it counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Head {
    /// Swings ever, and the sequence of the last.
    pub(super) total: u64,
    /// When the last one began.
    pub(super) last: Option<Timestamp>,
    pub(super) snoozed: Option<Timestamp>,
    /// The toggle was left at its other end.
    pub(super) toggled: bool,
    /// Up to where a hub is followed.
    pub(super) followed: Option<Position>,
    pub(super) board: Board,
}

/// For the admission after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Restored {
    /// Ids and the names of their outcomes, oldest first.
    pub(crate) answers: Vec<(String, String)>,
    pub(crate) snoozed: Option<Timestamp>,
}

/// For one transaction.
pub(super) struct Batch {
    pub(super) head: Head,
    pub(super) swings: Vec<Swing>,
    pub(super) answers: Vec<(String, &'static str)>,
}
