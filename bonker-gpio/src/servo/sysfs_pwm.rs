//! A servo on a PWM channel of the kernel: the hardware's, or one of the overlays pwm-gpio
//! and pwm-pio. The interface is Documentation/ABI/testing/sysfs-class-pwm.

mod channel;
mod chips;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use service::error_chain::chain;
use tracing::warn;

use super::{PwmSelection, Servo, ServoError};
use crate::motion::{FRAME_US, Step};
use channel::{EXPORT_DEADLINE, State, Write, start_writes, stop_writes, writable, write};

const PERIOD_NS: u64 = FRAME_US as u64 * 1000;

pub(super) struct SysfsPwm {
    chip: PathBuf,
    /// `pwmM` of the chip.
    path: PathBuf,
    channel: u32,
    state: State,
    /// Exported here. A channel that was exported before stays so: a udev rule may have done it.
    exported: bool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SysfsPwmError {
    #[error(
        "no PWM chip for {wanted}: {there}; put {overlay} into /boot/firmware/config.txt (dtparam=audio=off too, \
         since sound takes both channels up to the Pi 4) and restart"
    )]
    NoChip {
        wanted: String,
        there: String,
        /// The line of config.txt that would help.
        overlay: String,
    },
    #[error(
        "it is not known which channel of pwmchip{chip} ({device}) GPIO {pin} is: give --pwm-channel"
    )]
    NoChannel {
        /// N of `pwmchipN`.
        chip: u32,
        device: String,
        pin: u8,
    },
    #[error("pwmchip{chip} has {channels} channels, from 0: there is no --pwm-channel {channel}")]
    Channels {
        /// N of `pwmchipN`.
        chip: u32,
        channels: u32,
        channel: u32,
    },
    #[error(
        "channel {channel} of {chip} is in use by another driver: sound takes both up to the \
         Pi 4 (dtparam=audio=off gives them back)"
    )]
    Busy { chip: String, channel: u32 },
    #[error(
        "cannot {attempt}: the user has to be in the group gpio (usermod -aG gpio USER) or root"
    )]
    File { attempt: String, source: io::Error },
    /// A file never came, or never became ours.
    #[error(
        "{path} cannot be written {EXPORT_DEADLINE:?} after its channel was exported: the user has \
         to be in the group gpio, and udev has to give that group /sys/class/pwm, as Raspberry Pi \
         OS does"
    )]
    NotOurs { path: String, source: io::Error },
}

// === impl SysfsPwm ===

impl SysfsPwm {
    /// Takes the channel of `pin` (BCM numbering) below `root`; sends no pulse yet, and stops those
    /// that a predecessor left. Blocks for two seconds at most.
    pub(super) fn open(root: &Path, wish: PwmSelection, pin: u8) -> Result<Self, SysfsPwmError> {
        let found = chips::choose(&chips::list(root), wish, pin)?;
        let chip = found.chip.path;
        let path = chip.join(format!("pwm{}", found.channel));
        let exported = !path.exists();
        if exported {
            export(&chip, found.channel)?;
        }
        let mut servo = Self {
            chip,
            path,
            channel: found.channel,
            state: State::default(),
            exported,
        };
        let files = ["period", "duty_cycle", "enable"];
        writable(&servo.chip, &servo.path, &files).map_err(|(path, source)| {
            SysfsPwmError::NotOurs {
                path: path.display().to_string(),
                source,
            }
        })?;
        servo.state = State {
            period: servo.number("period")?,
            duty: servo.number("duty_cycle")?,
            enabled: servo.number("enable")? != 0,
        };
        servo.take_over()?;
        Ok(servo)
    }

    fn take_over(&mut self) -> Result<(), SysfsPwmError> {
        self.apply(&stop_writes(self.state)).map_err(file_error)?;
        let polarity = self.path.join("polarity");
        // Missing where the chip knows no other than the normal one.
        if std::fs::read_to_string(&polarity).is_ok_and(|text| text.trim() == "inversed") {
            write(&polarity, "normal").map_err(|source| file_error((polarity, source)))?;
        }
        Ok(())
    }

    fn number(&self, name: &str) -> Result<u64, SysfsPwmError> {
        let path = self.path.join(name);
        let text = std::fs::read_to_string(&path);
        let number = text.and_then(|text| text.trim().parse().map_err(io::Error::other));
        number.map_err(|source| SysfsPwmError::File {
            attempt: format!("read {}", path.display()),
            source,
        })
    }

    fn apply(&mut self, writes: &[Write]) -> Result<(), (PathBuf, io::Error)> {
        for change in writes {
            let (name, text) = match change {
                Write::Enable(on) => ("enable", u8::from(*on).to_string()),
                Write::Period(ns) => ("period", ns.to_string()),
                Write::Duty(ns) => ("duty_cycle", ns.to_string()),
            };
            if *change == Write::Enable(false) {
                frame_passes();
            }
            let path = self.path.join(name);
            write(&path, &text).map_err(|why| (path, why))?;
            match *change {
                Write::Enable(on) => self.state.enabled = on,
                Write::Period(ns) => self.state.period = ns,
                Write::Duty(ns) => self.state.duty = ns,
            }
        }
        Ok(())
    }
}

impl Servo for SysfsPwm {
    fn drive(&mut self, step: &Step) -> Result<(), ServoError> {
        let writes = start_writes(self.state, PERIOD_NS, u64::from(step.pulse_us) * 1000);
        self.apply(&writes).map_err(|why| ServoError::Backend {
            attempt: format!("start pulses of {} µs", step.pulse_us),
            source: file_error(why).into(),
        })
    }

    fn detach(&mut self) -> Result<(), ServoError> {
        let writes = stop_writes(self.state);
        self.apply(&writes).map_err(|why| ServoError::Backend {
            attempt: "stop its pulses".to_owned(),
            source: file_error(why).into(),
        })
    }

    fn place(&self) -> Option<String> {
        Some(self.path.display().to_string())
    }
}

impl Drop for SysfsPwm {
    fn drop(&mut self) {
        if let Err(why) = self.apply(&stop_writes(self.state)) {
            warn!(error = %chain(&file_error(why)), "the pulses may still be on");
        }
        if !self.exported {
            return;
        }
        let path = self.chip.join("unexport");
        if let Err(source) = write(&path, &self.channel.to_string()) {
            let why = file_error((path, source));
            warn!(error = %chain(&why), "the channel stays exported");
        }
    }
}

fn export(chip: &Path, channel: u32) -> Result<(), SysfsPwmError> {
    let path = chip.join("export");
    write(&path, &channel.to_string()).map_err(|source| {
        if Errno::from_io_error(&source) == Some(Errno::BUSY) {
            let chip = chip.display().to_string();
            return SysfsPwmError::Busy { chip, channel };
        }
        file_error((path, source))
    })
}

fn file_error((path, source): (PathBuf, io::Error)) -> SysfsPwmError {
    SysfsPwmError::File {
        attempt: format!("write {}", path.display()),
        source,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the hardware's frame has to pass, and nothing reports its end"
)]
fn frame_passes() {
    std::thread::sleep(Duration::from_micros(FRAME_US.into()));
}

#[cfg(test)]
mod tests;
