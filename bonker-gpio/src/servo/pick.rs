//! Which backend drives the servo, and why.

use std::io::Write;

use super::{Servo, null::Null, sim::Sim};
use crate::{report::chain, swing::Limits};

/// What the user asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// A Raspberry Pi's pin where there is one, else the simulator.
    Auto,
    /// A Raspberry Pi's pin, or fail.
    Rppal,
    /// Draws the swing on a terminal, or logs it where there is none.
    Sim,
    /// Moves nothing.
    Null,
}

/// A backend, ready to be driven.
pub struct Picked {
    /// The backend.
    pub servo: Box<dyn Servo>,
    /// Its name, as `--backend` takes it.
    pub name: &'static str,
    /// Why it was picked, for people.
    pub reason: String,
}

/// The backend that was asked for by name cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PickError {
    /// The pin cannot be driven.
    #[cfg(target_os = "linux")]
    #[error("the backend rppal was asked for and cannot start; --backend sim needs no hardware")]
    Pi(#[source] super::pi::PiError),
    /// Not built for this system.
    #[cfg(not(target_os = "linux"))]
    #[error("the backend rppal exists on Linux only; --backend sim needs no hardware")]
    NotLinux,
}

/// Where the simulator draws, if anywhere: a terminal that obeys ANSI sequences.
pub type Screen = Option<Box<dyn Write + Send>>;

/// Opens the backend for `choice`, on `pin` (BCM numbering) where it has one.
pub fn pick(choice: Choice, pin: u8, limits: Limits, screen: Screen) -> Result<Picked, PickError> {
    let asked = || "asked for by --backend".to_owned();
    match choice {
        Choice::Rppal => open_pi(pin, asked()),
        Choice::Sim => Ok(sim(limits, screen, asked())),
        Choice::Null => Ok(Picked {
            servo: Box::new(Null),
            name: "null",
            reason: asked(),
        }),
        Choice::Auto => {
            let found = format!("auto: a Raspberry Pi, GPIO {pin} is free");
            Ok(
                open_pi(pin, found)
                    .unwrap_or_else(|why| sim(limits, screen, fallback_reason(&why))),
            )
        }
    }
}

fn sim(limits: Limits, screen: Screen, reason: String) -> Picked {
    Picked {
        servo: Box::new(Sim::on(screen, limits)),
        name: "sim",
        reason,
    }
}

#[cfg(target_os = "linux")]
fn open_pi(pin: u8, reason: String) -> Result<Picked, PickError> {
    let servo = super::pi::Pi::open(pin).map_err(PickError::Pi)?;
    Ok(Picked {
        servo: Box::new(servo),
        name: "rppal",
        reason,
    })
}

#[cfg(not(target_os = "linux"))]
fn open_pi(_pin: u8, _reason: String) -> Result<Picked, PickError> {
    Err(PickError::NotLinux)
}

fn fallback_reason(why: &PickError) -> String {
    let cause = std::error::Error::source(why).map_or_else(|| why.to_string(), chain);
    format!("auto: nothing real to move: {cause}")
}
