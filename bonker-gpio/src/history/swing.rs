//! A swing and its position.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bonk::Bonk;
use crate::motion::Gesture;

/// Sent to watchers when its first pulse began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swing {
    pub bonk: Arc<Bonk>,
    /// Swings since the server started, this one included.
    pub swings: u64,
    pub swung_at: Timestamp,
    pub gesture: Gesture,
    /// Further items of the same container that came while this one waited.
    pub coalesced: u64,
    pub position: Position,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    #[serde(with = "text")]
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
    /// Before the first swing of any history.
    fn default() -> Self {
        Self {
            history: "".into(),
            sequence: 0,
        }
    }
}
