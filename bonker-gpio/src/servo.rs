//! The one trait, and what implements it. Only `pi` knows the Raspberry Pi's library.

mod null;
pub(crate) mod penguin;
#[cfg(target_os = "linux")]
mod pi;
mod pick;
mod sim;
#[cfg(target_os = "linux")]
mod sysfs_pwm;
mod watched;

use std::error::Error;

use crate::motion::Step;

pub use pick::{Choice, Hardware, PickError, Picked, PwmWish, Screen, pick};
pub use watched::{WATCHDOG, watched};

/// Something that can be sent pulses. Calls may block for some tens of milliseconds.
pub trait Servo: Send + 'static {
    /// Starts sending `step`'s pulse every frame and returns; the caller waits out the hold.
    fn drive(&mut self, step: &Step) -> Result<(), ServoError>;

    /// Stops the pulses between two of them, so that the servo neither jerks nor draws current.
    fn detach(&mut self) -> Result<(), ServoError>;
}

/// Why the servo did not do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum ServoError {
    /// The backend answered with an error.
    #[error("the servo did not {attempt}")]
    Backend {
        /// What was tried: completes "the servo did not …".
        attempt: String,
        /// The backend's own error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The backend panicked.
    #[error("the servo's backend panicked when asked to {attempt}")]
    Panicked {
        /// What was tried: completes "asked to …".
        attempt: String,
    },
    /// The backend's thread has ended.
    #[error("the servo's thread is gone and cannot {attempt}: restart the bonker")]
    Gone {
        /// What was tried: completes "cannot …".
        attempt: String,
    },
}
