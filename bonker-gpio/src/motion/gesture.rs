//! What the hammer can be asked to do, and which of it a bonk is.

use crate::bonk::Severity;

/// One motion of the hammer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gesture {
    /// Part of the way, and back.
    Nudge,
    /// Twice part of the way, and back.
    DoubleNudge,
    /// Strike, hold, return.
    Bonk,
    /// Strikes one after the other without coming to rest between them.
    Frenzy,
    /// To the other end, and stay there, as the original toy did.
    Toggle,
}

/// Where the hammer is when nothing moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// Up.
    #[default]
    Rest,
    /// Down on the penguin.
    Strike,
}

/// The gesture of a bonk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Style {
    /// Nudge, double nudge, bonk or frenzy, by severity
    #[default]
    BySeverity,
    /// Strike, hold and return for every reason
    Bonk,
    /// Go to the other end and stay there
    Toggle,
}

// === impl Gesture ===

impl Gesture {
    /// Every gesture there is.
    pub const ALL: [Self; 5] = [
        Self::Nudge,
        Self::DoubleNudge,
        Self::Bonk,
        Self::Frenzy,
        Self::Toggle,
    ];

    /// Its name, in metrics, in the history and in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nudge => "nudge",
            Self::DoubleNudge => "double-nudge",
            Self::Bonk => "bonk",
            Self::Frenzy => "frenzy",
            Self::Toggle => "toggle",
        }
    }

    /// How often the hammer comes down.
    pub(crate) fn blows(self) -> usize {
        match self {
            Self::Nudge | Self::Bonk | Self::Toggle => 1,
            Self::DoubleNudge => 2,
            Self::Frenzy => 4,
        }
    }

    /// Where the hammer is after it, if it was at `from`.
    pub fn end(self, from: End) -> End {
        match (self, from) {
            (Self::Toggle, End::Rest) => End::Strike,
            _ => End::Rest,
        }
    }
}

// === impl Style ===

impl Style {
    pub(super) fn gesture(self, severity: Severity) -> Gesture {
        match (self, severity) {
            (Self::Toggle, _) => Gesture::Toggle,
            (Self::Bonk, _) | (Self::BySeverity, Severity::Kill) => Gesture::Bonk,
            (Self::BySeverity, Severity::Warning) => Gesture::Nudge,
            (Self::BySeverity, Severity::Critical) => Gesture::DoubleNudge,
            (Self::BySeverity, Severity::Node) => Gesture::Frenzy,
        }
    }

    /// All that it can ask for.
    pub(super) fn gestures(self) -> &'static [Gesture] {
        match self {
            Self::BySeverity => &[
                Gesture::Nudge,
                Gesture::DoubleNudge,
                Gesture::Bonk,
                Gesture::Frenzy,
            ],
            Self::Bonk => &[Gesture::Bonk],
            Self::Toggle => &[Gesture::Toggle],
        }
    }
}
