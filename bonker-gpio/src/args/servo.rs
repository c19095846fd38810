//! Flags of the servo: backend, pin, pulses and gestures.

use clap::Args;

use crate::motion::{Calibration, Choreography, Limits, LimitsError, Percent, Style, Tempo};
use crate::servo::{Choice, Hardware};

#[derive(Debug, Args)]
#[command(next_help_heading = "Servo")]
pub(crate) struct ServoArgs {
    /// Backend that drives the servo
    #[arg(long, env = "BONKER_BACKEND", default_value = "auto")]
    pub(crate) backend: Choice,
    #[command(flatten)]
    pub(crate) hardware: Hardware,
    #[command(flatten)]
    pub(crate) calibration: Calibration,
    #[command(flatten)]
    tempo: Tempo,
    /// Gesture of a bonk
    #[arg(long, env = "BONKER_GESTURE", value_enum, default_value_t)]
    gesture: Style,
    /// Part of the way to the penguin that a nudge goes
    #[arg(long, env = "BONKER_NUDGE", default_value_t = Percent::NUDGE, value_name = "PERCENT")]
    nudge: Percent,
    /// Part of any minute in which the servo may be driven; further bonks wait
    #[arg(long, env = "BONKER_DUTY", default_value_t = Percent::DUTY, value_name = "PERCENT")]
    duty: Percent,
}

// === impl ServoArgs ===

impl ServoArgs {
    pub(crate) fn choreography(&self) -> Result<Choreography, LimitsError> {
        let Calibration {
            rest_us, strike_us, ..
        } = self.calibration;
        let limits = Limits::try_from(self.calibration)?;
        // Safe, but nothing would move; `calibrate` may begin there.
        if rest_us == strike_us {
            return Err(LimitsError::Same { pulse_us: rest_us });
        }
        Ok(Choreography {
            limits,
            tempo: self.tempo,
            nudge: self.nudge,
            style: self.gesture,
            duty: self.duty,
        })
    }
}
