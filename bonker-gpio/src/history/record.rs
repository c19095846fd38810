//! A swing as the database keeps it: JSON, in which a later version may find more.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::swung::{Position, Swung};
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
    pub(super) fn new(swung: &Swung) -> Self {
        Self {
            bonk: Bonk::clone(&swung.bonk),
            swings: swung.swings,
            at: swung.swung_at,
            gesture: swung.gesture.name().to_owned(),
            coalesced: swung.coalesced,
        }
    }

    pub(super) fn swung(self, position: Position) -> Swung {
        Swung {
            bonk: Arc::new(self.bonk),
            swings: self.swings,
            swung_at: self.at,
            gesture: gesture(&self.gesture),
            coalesced: self.coalesced,
            position,
        }
    }
}

/// A gesture of a later version counts as a bonk.
fn gesture(name: &str) -> Gesture {
    let mut known = Gesture::ALL.into_iter();
    known
        .find(|known| known.name() == name)
        .unwrap_or(Gesture::Bonk)
}
