//! The one trait, its backends, and the thread that owns one of them.

mod backends;
mod null;
pub(crate) mod penguin;
#[cfg(target_os = "linux")]
mod pi;
mod sim;
#[cfg(target_os = "linux")]
mod sysfs_pwm;
mod thread;

use std::error::Error;

use crate::motion::Step;

/// Why a backend did not carry out an order.
pub type Failure = Box<dyn Error + Send + Sync>;

pub use backends::Backend;
pub(crate) use backends::{Choice, Hardware, Picked, PwmSelection, Screen, pick};
pub(crate) use thread::{ServoThread, WATCHDOG};

/// Calls may block for some tens of milliseconds.
pub trait Servo: Send + 'static {
    /// Starts to send `step`'s pulse every frame and returns; the caller waits out the hold.
    fn drive(&mut self, step: &Step) -> Result<(), Failure>;

    /// Stops the pulses between two of them, so that the servo neither jerks nor draws current.
    fn detach(&mut self) -> Result<(), Failure>;

    /// The file or device that it drives, for people.
    fn place(&self) -> Option<String> {
        None
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ServoError {
    #[error("the servo did not {attempt}")]
    Backend {
        /// Completes "the servo did not …".
        attempt: String,
        source: Failure,
    },
    #[error("the servo's backend panicked when ordered to {attempt}")]
    Panicked {
        /// Completes "ordered to …".
        attempt: String,
    },
    #[error("the servo's thread is gone and cannot {attempt}: restart the bonker")]
    Gone {
        /// Completes "cannot …".
        attempt: String,
    },
}
