//! A servo on a Raspberry Pi's pin, by software PWM.

use std::time::Duration;

use rppal::gpio::{Error, Gpio, OutputPin};

use super::{Failure, Servo};
use crate::motion::{FRAME_US, Step};

pub(super) struct Pi {
    pin: OutputPin,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PiError {
    #[error("this is not a Raspberry Pi that the GPIO library knows")]
    NotAPi,
    #[error(
        "cannot drive GPIO {pin}: check that /dev/gpiomem or /dev/gpiochip0 is there and that \
         this user may write it"
    )]
    Pin { pin: u8, source: Error },
}

// === impl Pi ===

impl Pi {
    /// Takes `pin` (BCM numbering) as an output and leaves it low; sends no pulse yet.
    pub(super) fn open(pin: u8) -> Result<Self, PiError> {
        match Gpio::new().and_then(|gpio| gpio.get(pin)) {
            Ok(free) => Ok(Self {
                pin: free.into_output_low(),
            }),
            Err(Error::UnknownModel) => Err(PiError::NotAPi),
            Err(source) => Err(PiError::Pin { pin, source }),
        }
    }
}

impl Servo for Pi {
    fn drive(&mut self, step: &Step) -> Result<(), Failure> {
        let frame = Duration::from_micros(FRAME_US.into());
        let pulse = Duration::from_micros(step.pulse_us.into());
        Ok(self.pin.set_pwm(frame, pulse)?)
    }

    fn detach(&mut self) -> Result<(), Failure> {
        Ok(self.pin.clear_pwm()?)
    }
}
