//! The pulses that the linkage can take.

use std::time::Duration;

/// A servo's frame in µs: one pulse is sent every 20 ms.
pub(crate) const FRAME_US: u16 = 20_000;

/// The shortest pulse that any hobby servo is made for, in µs; beyond it most hit their stop.
pub const SHORTEST_US: u16 = 500;

/// The longest one, in µs.
pub const LONGEST_US: u16 = 2500;

/// The longest a single step is held. One step, the way to rest and the last rest fit the
/// server's deadline for stopping, and a stalled servo has no time to heat up.
pub const MAX_HOLD: Duration = Duration::from_millis(500);

/// One pulse width, and how long the arm sends it before the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub pulse_us: u16,
    /// Time to get there and stay, at most [`MAX_HOLD`].
    pub hold: Duration,
}

/// As measured on the servo; [`Limits`] is the checked form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub struct Calibration {
    /// Shortest pulse the linkage can take, in µs
    #[arg(long, env = "BONKER_MIN_US", default_value_t = Self::default().min_us, value_name = "US")]
    pub min_us: u16,
    /// Longest pulse the linkage can take, in µs
    #[arg(long, env = "BONKER_MAX_US", default_value_t = Self::default().max_us, value_name = "US")]
    pub max_us: u16,
    /// Pulse at which the hammer is up, in µs
    #[arg(long, env = "BONKER_REST_US", default_value_t = Self::default().rest_us,
          value_name = "US")]
    pub rest_us: u16,
    /// Pulse at which the hammer meets the penguin, in µs
    #[arg(long, env = "BONKER_STRIKE_US", default_value_t = Self::default().strike_us,
          value_name = "US")]
    pub strike_us: u16,
}

/// A [`Calibration`] that holds: min below max, both within [`SHORTEST_US`] and
/// [`LONGEST_US`], rest and strike within them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits(Calibration);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LimitsError {
    #[error(
        "the shortest pulse ({min_us} µs) must be below the longest ({max_us} µs): set --min-us \
         and --max-us; where the hammer turns the other way, swap --rest-us and --strike-us"
    )]
    Empty { min_us: u16, max_us: u16 },
    #[error(
        "a pulse of {pulse_us} µs (--{what}-us) would drive a servo against its stop: keep within \
         {SHORTEST_US} to {LONGEST_US} µs"
    )]
    Beyond {
        /// `min` or `max`.
        what: &'static str,
        pulse_us: u16,
    },
    #[error(
        "rest and strike are the same pulse ({pulse_us} µs), and nothing would move: set \
         --rest-us and --strike-us apart"
    )]
    Same { pulse_us: u16 },
    #[error(
        "the {what} pulse ({pulse_us} µs) is outside {min_us} to {max_us} µs: set --{what}-us, \
         or widen --min-us and --max-us if the linkage can take it"
    )]
    Outside {
        /// `rest` or `strike`.
        what: &'static str,
        pulse_us: u16,
        min_us: u16,
        max_us: u16,
    },
}

// === impl Calibration ===

impl Default for Calibration {
    /// 1 to 2 ms, which every hobby servo takes.
    fn default() -> Self {
        Self {
            min_us: 1000,
            max_us: 2000,
            rest_us: 1000,
            strike_us: 2000,
        }
    }
}

// === impl Limits ===

impl Limits {
    /// Pulse at which the hammer is up, in µs.
    pub fn rest_us(self) -> u16 {
        self.0.rest_us
    }

    /// Pulse at which the hammer meets the penguin, in µs.
    pub fn strike_us(self) -> u16 {
        self.0.strike_us
    }

    /// Whether the linkage can take `pulse_us`.
    pub fn contains(self, pulse_us: u16) -> bool {
        (self.0.min_us..=self.0.max_us).contains(&pulse_us)
    }

    /// `pulse_us`, or the bound that is nearest.
    pub(super) fn clamp(self, pulse_us: u16) -> u16 {
        pulse_us.clamp(self.0.min_us, self.0.max_us)
    }
}

impl TryFrom<Calibration> for Limits {
    type Error = LimitsError;

    fn try_from(wanted: Calibration) -> Result<Self, LimitsError> {
        let Calibration {
            min_us,
            max_us,
            rest_us,
            strike_us,
        } = wanted;
        if min_us >= max_us {
            return Err(LimitsError::Empty { min_us, max_us });
        }
        for (what, pulse_us) in [("min", min_us), ("max", max_us)] {
            if !(SHORTEST_US..=LONGEST_US).contains(&pulse_us) {
                return Err(LimitsError::Beyond { what, pulse_us });
            }
        }
        for (what, pulse_us) in [("rest", rest_us), ("strike", strike_us)] {
            if !(min_us..=max_us).contains(&pulse_us) {
                return Err(LimitsError::Outside {
                    what,
                    pulse_us,
                    min_us,
                    max_us,
                });
            }
        }
        Ok(Self(wanted))
    }
}
