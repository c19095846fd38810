//! A swing as the database keeps it: JSON, in which a later version may find more.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::swing::{Position, Swing};
use crate::bonk::Bonk;
use crate::motion::Gesture;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    bonk: Bonk,
    swings: u64,
    at: Timestamp,
    gesture: String,
    #[serde(default)]
    coalesced: u64,
}

// === impl Record ===

impl Record {
    pub(super) fn new(swing: &Swing) -> Self {
        Self {
            bonk: Bonk::clone(&swing.bonk),
            swings: swing.swings,
            at: swing.swung_at,
            gesture: swing.gesture.name().to_owned(),
            coalesced: swing.coalesced,
        }
    }

    pub(super) fn into_swing(self, position: Position) -> Swing {
        Swing {
            bonk: Arc::new(self.bonk),
            swings: self.swings,
            swung_at: self.at,
            // One of a later version counts as a bonk.
            gesture: self.gesture.parse().unwrap_or(Gesture::Bonk),
            coalesced: self.coalesced,
            position,
        }
    }
}
