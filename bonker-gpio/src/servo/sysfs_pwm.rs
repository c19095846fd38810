//! A servo on a PWM channel of the kernel: the hardware's, or one of the overlays pwm-gpio
//! and pwm-pio. The interface is Documentation/ABI/testing/sysfs-class-pwm.

mod channel;
mod chips;

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use service::error_chain::chain;
use tracing::warn;

use super::{Failure, Hardware, Servo};
use crate::motion::{FRAME_US, Step};
use channel::{State, Write, start_writes, stop_writes};

/// How long the files of a channel that was just exported may take to come and to be given
/// to this user.
const EXPORT_DEADLINE: Duration = Duration::from_secs(2);

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
    /// Takes the channel of the pin; sends no pulse yet, and stops those that a predecessor left.
    /// Blocks for two seconds at most.
    pub(super) fn open(hardware: &Hardware) -> Result<Self, SysfsPwmError> {
        let chips = chips::list(&hardware.sysfs_pwm);
        let (chip, channel) = chips::choose(&chips, hardware.pwm, hardware.pin)?;
        let chip = chip.path.clone();
        let path = chip.join(format!("pwm{channel}"));
        let exported = !path.exists();
        if exported {
            export(&chip, channel)?;
        }
        let mut servo = Self {
            chip,
            path,
            channel,
            state: State::default(),
            exported,
        };
        servo.wait_for_files()?;
        servo.state = State {
            period: servo.number("period")?,
            duty: servo.number("duty_cycle")?,
            enabled: servo.number("enable")? != 0,
        };
        servo.take_over()?;
        Ok(servo)
    }

    /// udev gives the files of a channel that was just exported to this user. Not every kernel
    /// announces them by inotify.
    fn wait_for_files(&self) -> Result<(), SysfsPwmError> {
        let deadline = Instant::now() + EXPORT_DEADLINE;
        for name in ["period", "duty_cycle", "enable"] {
            let path = self.path.join(name);
            while let Err(source) = OpenOptions::new().write(true).open(&path) {
                let not_yet = [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied];
                if !not_yet.contains(&source.kind()) || Instant::now() >= deadline {
                    let path = path.display().to_string();
                    return Err(SysfsPwmError::NotOurs { path, source });
                }
                wait_one_frame();
            }
        }
        Ok(())
    }

    fn take_over(&mut self) -> Result<(), SysfsPwmError> {
        self.apply(&stop_writes(self.state))?;
        let polarity = self.path.join("polarity");
        // Missing where the chip knows no other than the normal one.
        if std::fs::read_to_string(&polarity).is_ok_and(|text| text.trim() == "inversed") {
            write(&polarity, "normal")?;
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

    fn apply(&mut self, writes: &[Write]) -> Result<(), SysfsPwmError> {
        for change in writes {
            let (name, text) = match change {
                Write::Enable(on) => ("enable", u8::from(*on).to_string()),
                Write::Period(ns) => ("period", ns.to_string()),
                Write::Duty(ns) => ("duty_cycle", ns.to_string()),
            };
            if *change == Write::Enable(false) {
                wait_one_frame();
            }
            write(&self.path.join(name), &text)?;
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
    fn drive(&mut self, step: &Step) -> Result<(), Failure> {
        let writes = start_writes(self.state, PERIOD_NS, u64::from(step.pulse_us) * 1000);
        Ok(self.apply(&writes)?)
    }

    fn detach(&mut self) -> Result<(), Failure> {
        Ok(self.apply(&stop_writes(self.state))?)
    }

    fn place(&self) -> Option<String> {
        Some(self.path.display().to_string())
    }
}

impl Drop for SysfsPwm {
    fn drop(&mut self) {
        if let Err(why) = self.apply(&stop_writes(self.state)) {
            warn!(error = %chain(&why), "the pulses may still be on");
        }
        if self.exported
            && let Err(why) = write(&self.chip.join("unexport"), &self.channel.to_string())
        {
            warn!(error = %chain(&why), "the channel stays exported");
        }
    }
}

fn export(chip: &Path, channel: u32) -> Result<(), SysfsPwmError> {
    match write(&chip.join("export"), &channel.to_string()) {
        Err(SysfsPwmError::File { source, .. })
            if Errno::from_io_error(&source) == Some(Errno::BUSY) =>
        {
            let chip = chip.display().to_string();
            Err(SysfsPwmError::Busy { chip, channel })
        }
        done => done,
    }
}

/// Writes an attribute of sysfs, which exists or is not created.
fn write(path: &Path, text: &str) -> Result<(), SysfsPwmError> {
    let file = OpenOptions::new().write(true).truncate(true).open(path);
    // One write: sysfs takes each as a whole value.
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| SysfsPwmError::File {
        attempt: format!("write {}", path.display()),
        source,
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the hardware's frame has to pass, or udev to do its work: nothing reports either"
)]
fn wait_one_frame() {
    std::thread::sleep(Duration::from_micros(FRAME_US.into()));
}

#[cfg(test)]
mod tests;
