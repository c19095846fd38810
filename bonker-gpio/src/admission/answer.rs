//! The answers to items, and their counts.

use strum::VariantArray;

/// Under its name of `bonk.v1.Outcome`, as in `ACCEPTED`.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Outcome {
    Accepted,
    /// Added to another item of the same container, which waits or has just swung.
    Coalesced,
    Duplicate,
    RateLimited,
    /// Quiet hours, a snooze, or below the severity floor.
    Quiet,
    Expired,
    Full,
    /// Malformed, denied, or too late: the server is shutting down.
    Rejected,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub outcome: Outcome,
    /// The outcome of the first item with this id; for duplicates only.
    pub first: Option<Outcome>,
    /// For people; may be empty. Not escaped.
    pub message: String,
}

/// Answers given since the start, by outcome, and what became of items that waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    answers: [u64; Outcome::VARIANTS.len()],
    /// Items that were queued and got too old before their turn came.
    pub expired_waiting: u64,
    /// Items that were queued and whose turn came in quiet hours or a snooze.
    pub quiet_waiting: u64,
}

// === impl Outcome ===

impl Outcome {
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The id gets DUPLICATE from now on; after any other outcome it may be sent again.
    pub(crate) fn is_final(self) -> bool {
        matches!(
            self,
            Self::Accepted | Self::Coalesced | Self::Quiet | Self::Expired
        )
    }
}

// === impl Answer ===

impl Answer {
    pub(super) fn plain(outcome: Outcome) -> Self {
        Self::because(outcome, String::new())
    }

    pub(super) fn because(outcome: Outcome, message: impl Into<String>) -> Self {
        Self {
            outcome,
            first: None,
            message: message.into(),
        }
    }

    pub(super) fn duplicate(first: Outcome) -> Self {
        Self {
            first: Some(first),
            ..Self::plain(Outcome::Duplicate)
        }
    }
}

// === impl Tally ===

impl Tally {
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.answers.get(outcome as usize).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, outcome: Outcome) {
        if let Some(times) = self.answers.get_mut(outcome as usize) {
            *times += 1;
        }
    }
}
