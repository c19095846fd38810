//! A swing, and where it is in the history.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bonk::Bonk;
use crate::motion::Gesture;

/// A swing, told to watchers once its first pulse is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swing {
    /// Why the arm swung.
    pub bonk: Arc<Bonk>,
    /// Swings since the server started, this one included.
    pub swings: u64,
    /// When the first pulse began.
    pub swung_at: Timestamp,
    /// What the arm did.
    pub gesture: Gesture,
    /// Items of the same place that came while this one waited.
    pub coalesced: u64,
    /// Where it is in the history.
    pub position: Position,
}

/// A place in a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Which history.
    #[serde(with = "text")]
    pub history: Arc<str>,
    /// Number of the swing in it; the first is 1.
    pub sequence: u64,
}

/// What came after a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The position's sequence in this run. Sequences that are missing between it and the
    /// first swing, or between two swings, are no longer in the history.
    pub after: u64,
    /// The swings, oldest first.
    pub swings: Vec<Swing>,
}

/// An `Arc<str>` is written as the string it is.
mod text {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(text: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<str>, D::Error> {
        Ok(String::deserialize(from)?.into())
    }
}

// === impl Position ===

impl Default for Position {
    /// Nowhere: before all there is.
    fn default() -> Self {
        Self {
            history: "".into(),
            sequence: 0,
        }
    }
}
