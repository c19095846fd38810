//! Pure: a gesture becomes pulses and holds that stay within the calibrated limits.

use std::time::Duration;

/// A servo's frame in µs: one pulse is sent every 20 ms, so a pulse has to be shorter.
pub const FRAME_US: u16 = 20_000;

/// The longest a single step is held. Two steps of a bonk and the final rest still fit
/// the server's deadline for stopping, and a stalled servo has no time to heat up.
pub const MAX_HOLD: Duration = Duration::from_millis(500);

/// What the arm can be asked to do. Every gesture ends at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gesture {
    /// Go to rest: at boot, and before the process ends.
    Rest,
    /// Strike, hold, return to rest.
    Bonk,
}

/// One pulse width, and how long the arm sends it before the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Pulse width in µs.
    pub pulse_us: u16,
    /// Time to get there and stay, at most [`MAX_HOLD`].
    pub hold: Duration,
}

/// What somebody measured on their servo; [`Limits`] is the checked form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calibration {
    /// Shortest pulse the linkage can take, in µs.
    pub min_us: u16,
    /// Longest pulse the linkage can take, in µs.
    pub max_us: u16,
    /// Pulse at which the hammer is up, in µs.
    pub rest_us: u16,
    /// Pulse at which the hammer meets the penguin, in µs.
    pub strike_us: u16,
}

/// A [`Calibration`] that holds: 0 < min < max < frame, rest and strike within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits(Calibration);

/// How long the steps of a bonk are held; longer than [`MAX_HOLD`] is cut to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tempo {
    /// Time to reach the penguin and stay there.
    pub strike: Duration,
    /// Time to get back to rest before the pulses stop.
    pub rest: Duration,
}

/// Why a [`Calibration`] was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LimitsError {
    /// A pulse of 0 µs is none.
    #[error("the shortest pulse is 0 µs, which is no pulse: set it to at least 1 µs")]
    Zero,
    /// The range is empty.
    #[error("the shortest pulse ({min_us} µs) must be below the longest ({max_us} µs)")]
    Empty {
        /// Shortest pulse in µs.
        min_us: u16,
        /// Longest pulse in µs.
        max_us: u16,
    },
    /// The pulse would fill its frame.
    #[error("the longest pulse ({max_us} µs) must be below the frame of {FRAME_US} µs")]
    Frame {
        /// Longest pulse in µs.
        max_us: u16,
    },
    /// Rest or strike is out of range.
    #[error("the {what} pulse ({pulse_us} µs) is outside {min_us} to {max_us} µs")]
    Outside {
        /// `rest` or `strike`.
        what: &'static str,
        /// The pulse in µs.
        pulse_us: u16,
        /// Shortest pulse in µs.
        min_us: u16,
        /// Longest pulse in µs.
        max_us: u16,
    },
}

/// The steps of `gesture`, in order. Never empty; the last one is at rest.
pub fn steps(gesture: Gesture, limits: Limits, tempo: Tempo) -> Vec<Step> {
    let step = |pulse_us, hold: Duration| Step {
        pulse_us,
        hold: hold.min(MAX_HOLD),
    };
    let rest = step(limits.rest_us(), tempo.rest);
    match gesture {
        Gesture::Rest => vec![rest],
        Gesture::Bonk => vec![step(limits.strike_us(), tempo.strike), rest],
    }
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
        if min_us == 0 {
            return Err(LimitsError::Zero);
        }
        if min_us >= max_us {
            return Err(LimitsError::Empty { min_us, max_us });
        }
        if max_us >= FRAME_US {
            return Err(LimitsError::Frame { max_us });
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

// === impl Tempo ===

impl Default for Tempo {
    fn default() -> Self {
        Self {
            strike: Duration::from_millis(250),
            rest: Duration::from_millis(350),
        }
    }
}
