//! Which backend drives the servo, and why.

use std::io::Write;
use std::path::PathBuf;

use super::{Servo, null::Null, sim::Sim};
use crate::{motion::Limits, report::chain};

/// What the user asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// sysfs-pwm where a PWM chip has the pin, else rppal on a Raspberry Pi, else sim
    Auto,
    /// A PWM chip of the kernel (overlays pwm, pwm-gpio and pwm-pio), or fail
    SysfsPwm,
    /// Any pin of a Raspberry Pi by software PWM, or fail
    Rppal,
    /// Draw the swing on a terminal, or log it
    Sim,
    /// Move nothing
    Null,
}

/// Which PWM chip and channel the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PwmWish {
    /// N of `pwmchipN`; `None` finds the chip by its device.
    pub chip: Option<u32>,
    /// The channel; `None` finds it by the pin.
    pub channel: Option<u32>,
}

/// Where the servo is wired to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hardware {
    /// BCM number of the pin.
    pub pin: u8,
    /// Its PWM channel.
    pub pwm: PwmWish,
    /// Where the kernel shows its PWM chips: `/sys/class/pwm` but in tests.
    pub sysfs_pwm: PathBuf,
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
    /// No PWM channel can be driven.
    #[cfg(target_os = "linux")]
    #[error(
        "the backend sysfs-pwm was asked for and cannot start; --backend rppal needs no overlay, \
         --backend sim no hardware"
    )]
    SysfsPwm(#[source] super::sysfs_pwm::SysfsPwmError),
    /// Not built for this system.
    #[cfg(not(target_os = "linux"))]
    #[error("the backend {0} exists on Linux only; --backend sim needs no hardware")]
    NotLinux(&'static str),
}

/// Where the simulator draws, if anywhere: a terminal that obeys ANSI sequences.
pub type Screen = Option<Box<dyn Write + Send>>;

/// Opens the backend for `choice`.
///
/// `auto` takes the steadiest pulses that are there: the kernel's need nobody's processor
/// time, the library's any pin; the simulator is always there. What it passed over is said in
/// [`Picked::reason`].
pub fn pick(
    choice: Choice,
    hardware: &Hardware,
    limits: Limits,
    screen: Screen,
) -> Result<Picked, PickError> {
    let asked = || "asked for by --backend".to_owned();
    match choice {
        Choice::SysfsPwm => open_sysfs_pwm(hardware, &asked()),
        Choice::Rppal => open_pi(hardware.pin, asked()),
        Choice::Sim => Ok(sim(limits, screen, asked())),
        Choice::Null => Ok(Picked {
            servo: Box::new(Null),
            name: "null",
            reason: asked(),
        }),
        Choice::Auto => Ok(auto(hardware, limits, screen)),
    }
}

fn auto(hardware: &Hardware, limits: Limits, screen: Screen) -> Picked {
    let pin = hardware.pin;
    let no_channel = match open_sysfs_pwm(hardware, &format!("auto: a PWM channel for GPIO {pin}"))
    {
        Ok(picked) => return picked,
        Err(why) => cause(&why),
    };
    let found = format!("auto: a Raspberry Pi, GPIO {pin} is free; not sysfs-pwm: {no_channel}");
    match open_pi(pin, found) {
        Ok(picked) => picked,
        Err(why) => {
            let reason = format!(
                "auto: nothing real to move; not sysfs-pwm: {no_channel}; not rppal: {}",
                cause(&why)
            );
            sim(limits, screen, reason)
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
fn open_sysfs_pwm(hardware: &Hardware, reason: &str) -> Result<Picked, PickError> {
    let Hardware {
        pin,
        pwm,
        sysfs_pwm,
    } = hardware;
    let servo = super::sysfs_pwm::SysfsPwm::open(sysfs_pwm, *pwm, *pin);
    let servo = servo.map_err(PickError::SysfsPwm)?;
    let reason = format!("{reason}, {}", servo.describe());
    Ok(Picked {
        servo: Box::new(servo),
        name: "sysfs-pwm",
        reason,
    })
}

#[cfg(not(target_os = "linux"))]
fn open_sysfs_pwm(_hardware: &Hardware, _reason: &str) -> Result<Picked, PickError> {
    Err(PickError::NotLinux("sysfs-pwm"))
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
    Err(PickError::NotLinux("rppal"))
}

fn cause(why: &PickError) -> String {
    std::error::Error::source(why).map_or_else(|| why.to_string(), chain)
}
