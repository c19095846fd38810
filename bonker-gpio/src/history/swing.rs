//! A swing and its position.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bonk::Bonk;
use crate::motion::Gesture;

/// Sent to watchers when its first pulse began.
/// In the database it is JSON, in which a later version may find more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swing {
    pub bonk: Arc<Bonk>,
    /// Swings since the server started, this one included.
    pub swings: u64,
    #[serde(rename = "at")]
    pub swung_at: Timestamp,
    #[serde(with = "by_name")]
    pub gesture: Gesture,
    /// Further items of the same container that came while this one waited.
    #[serde(default)]
    pub coalesced: u64,
    /// Its key in the database.
    #[serde(skip)]
    pub position: Position,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub history: Arc<str>,
    /// Number of the swing in it; the first is 1.
    pub sequence: u64,
}

/// The swings after a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The position's sequence in this run. Sequences that are missing between it and the
    /// first swing, or between two swings, are no longer in the history.
    pub after: u64,
    pub swings: Vec<Swing>,
}

mod by_name {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::motion::Gesture;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(made: &Gesture, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(made.name())
    }

    /// A gesture of a later version counts as a bonk.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Gesture, D::Error> {
        let name = String::deserialize(from)?;
        Ok(name.parse().unwrap_or(Gesture::Bonk))
    }
}

// === impl Position ===

impl Default for Position {
    /// Before the first swing of any history.
    fn default() -> Self {
        Self {
            history: "".into(),
            sequence: 0,
        }
    }
}
