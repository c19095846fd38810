//! The table of gestures, and which of them a bonk is.

use clap::ValueEnum as _;

use crate::bonk::Severity;

/// One motion of the hammer, under its name in metrics, in the history and in logs. A new one is a
/// variant, its beats, and its namesake in `bonk.v1.Gesture`; [`Style`] picks it.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[strum(serialize_all = "kebab-case")]
pub enum Gesture {
    Nudge,
    DoubleNudge,
    Bonk,
    Frenzy,
    /// Goes to the other end and stays there, as the original toy did.
    Toggle,
}

/// A place of the hammer, the higher first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    /// Where the hammer goes, and how much of a strike's hold it stays there, in percent. After
    /// them it goes to its end.
    pub(super) fn beats(self) -> &'static [(Stop, u32)] {
        use Stop::{Nudge, Rest, Strike};
        match self {
            Self::Nudge => &[(Nudge, 100)],
            Self::DoubleNudge => &[(Nudge, 100), (Rest, 100), (Nudge, 100)],
            Self::Bonk => &[(Strike, 100)],
            // Without coming to rest between the strikes.
            Self::Frenzy => const { [[(Strike, 60), (Nudge, 60)]; 4].as_flattened() },
            Self::Toggle => &[],
        }
    }

    pub(crate) fn name(self) -> &'static str {
        self.into()
    }

    /// How often the hammer comes down, if it begins at rest.
    pub(crate) fn blows(self) -> usize {
        let end = match self.end(End::Rest) {
            End::Rest => Stop::Rest,
            End::Strike => Stop::Strike,
        };
        let stops = self.beats().iter().map(|(stop, _)| *stop).chain([end]);
        let places = [Stop::Rest].into_iter().chain(stops.clone());
        places.zip(stops).filter(|(from, to)| to > from).count()
    }

    /// Where the hammer is after it, if it was at `from`.
    pub(super) fn end(self, from: End) -> End {
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

    pub(super) fn gestures(self) -> Vec<Gesture> {
        let all = Severity::value_variants();
        let mut gestures: Vec<_> = all.iter().map(|it| self.gesture(*it)).collect();
        gestures.dedup();
        gestures
    }
}
