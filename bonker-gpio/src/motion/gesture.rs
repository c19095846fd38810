//! The table of gestures, and which of them a bonk is.

use clap::ValueEnum as _;

use crate::bonk::Severity;

/// One motion of the hammer. A new one is a variant, an entry in [`Gesture::ALL`], an arm of
/// `spec`, and a value of `bonk.v1.Gesture`; [`Style`] picks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gesture {
    Nudge,
    DoubleNudge,
    Bonk,
    Frenzy,
    Toggle,
}

pub(super) struct Spec {
    /// In metrics, in the history and in logs.
    name: &'static str,
    /// Where the hammer goes, and how much of a strike's hold it stays there, in percent. After
    /// them it goes to its end.
    pub(super) beats: &'static [(Stop, u32)],
    /// How often the hammer comes down.
    blows: usize,
    /// It ends at the other end, and stays there.
    toggles: bool,
}

/// A place of the hammer.
#[derive(Clone, Copy)]
pub(super) enum Stop {
    Rest,
    /// Part of the way.
    Nudge,
    Strike,
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
    pub(crate) const ALL: [Self; 5] = [
        Self::Nudge,
        Self::DoubleNudge,
        Self::Bonk,
        Self::Frenzy,
        Self::Toggle,
    ];

    pub(super) const fn spec(self) -> Spec {
        use Stop::{Nudge, Rest, Strike};
        let (name, beats, blows): (_, &[_], _) = match self {
            Self::Nudge => ("nudge", &[(Nudge, 100)], 1),
            Self::DoubleNudge => {
                let beats = &[(Nudge, 100), (Rest, 100), (Nudge, 100)];
                ("double-nudge", beats, 2)
            }
            Self::Bonk => ("bonk", &[(Strike, 100)], 1),
            // Without coming to rest between the strikes.
            Self::Frenzy => ("frenzy", [[(Strike, 60), (Nudge, 60)]; 4].as_flattened(), 4),
            // As the original toy did.
            Self::Toggle => ("toggle", &[], 1),
        };
        Spec {
            name,
            beats,
            blows,
            toggles: matches!(self, Self::Toggle),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        self.spec().name
    }

    /// How often the hammer comes down.
    pub(crate) fn blows(self) -> usize {
        self.spec().blows
    }

    /// Where the hammer is after it, if it was at `from`.
    pub(super) fn end(self, from: End) -> End {
        match (self.spec().toggles, from) {
            (true, End::Rest) => End::Strike,
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

    pub(super) fn gestures(self) -> Vec<Gesture> {
        let all = Severity::value_variants();
        let mut gestures: Vec<_> = all.iter().map(|it| self.gesture(*it)).collect();
        gestures.dedup();
        gestures
    }
}
