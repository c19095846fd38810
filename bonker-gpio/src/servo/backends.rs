//! The table of backends, and which of them drives the servo. A new backend is a [`Choice`] and a
//! row of [`BACKENDS`].

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use service::error_chain::chain;

use super::{Failure, Servo, null::Null, sim::Sim};
use crate::motion::Limits;

/// `--backend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Choice {
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

/// `None` is auto. By their full path, clap takes these options for values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct PwmSelection {
    /// Number N of the pwmchipN for sysfs-pwm; auto finds the chip that has the pin
    #[arg(long = "pwm-chip", env = "BONKER_PWM_CHIP", default_value = "auto",
          value_name = "auto|N", value_parser = auto_or_number)]
    pub(crate) chip: std::option::Option<u32>,
    /// Channel of that chip; auto finds it by the pin
    #[arg(long = "pwm-channel", env = "BONKER_PWM_CHANNEL", default_value = "auto",
          value_name = "auto|N", value_parser = auto_or_number)]
    pub(crate) channel: std::option::Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Hardware {
    /// Servo pin of a Raspberry Pi, by its BCM number
    #[arg(long = "gpio-pin", env = "BONKER_GPIO_PIN", default_value_t = 18, value_name = "PIN",
          value_parser = clap::value_parser!(u8).range(0..=27))]
    pub(crate) pin: u8,
    #[command(flatten)]
    pub(crate) pwm: PwmSelection,
    /// The kernel's PWM chips; others in tests.
    #[arg(skip = PathBuf::from("/sys/class/pwm"))]
    pub(crate) sysfs_pwm: PathBuf,
}

#[derive(Clone, Debug)]
pub struct Backend {
    /// As `--backend` takes it.
    pub name: &'static str,
    pub reason: String,
}

pub(crate) struct Picked {
    pub(crate) servo: Box<dyn Servo>,
    pub(crate) backend: Backend,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PickError {
    #[error("the backend {name} was asked for and cannot start; {instead}")]
    Open {
        name: &'static str,
        instead: &'static str,
        source: Failure,
    },
    /// The choice has no row on this system.
    #[error("this backend exists on Linux only; --backend sim needs no hardware")]
    NotHere,
}

/// The terminal that the simulator draws on, if it obeys ANSI sequences.
pub(crate) type Screen = Option<Box<dyn Write + Send>>;

type Opened = Result<Box<dyn Servo>, Failure>;

struct Row {
    choice: Choice,
    /// Why `auto` picks it; `None` if it does not.
    auto: Option<fn(&Hardware) -> String>,
    /// What to use if it cannot start.
    instead: &'static str,
    open: fn(&Hardware, Limits, &mut Screen) -> Opened,
}

/// In the order in which `auto` tries them, the steadiest pulses first: the kernel's need no
/// processor time, the library's drive any pin; the simulator always starts.
const BACKENDS: &[Row] = &[
    #[cfg(target_os = "linux")]
    Row {
        choice: Choice::SysfsPwm,
        auto: Some(|hardware| format!("a PWM channel for GPIO {}", hardware.pin)),
        instead: "--backend rppal needs no overlay, --backend sim no hardware",
        open: |hardware, _, _| Ok(Box::new(super::sysfs_pwm::SysfsPwm::open(hardware)?)),
    },
    #[cfg(target_os = "linux")]
    Row {
        choice: Choice::Rppal,
        auto: Some(|hardware| format!("a Raspberry Pi, GPIO {} is free", hardware.pin)),
        instead: "--backend sim needs no hardware",
        open: |hardware, _, _| Ok(Box::new(super::pi::Pi::open(hardware.pin)?)),
    },
    Row {
        choice: Choice::Sim,
        auto: Some(|_| "nothing real to move".to_owned()),
        instead: "--backend null draws nothing",
        open: |_, limits, screen| Ok(Box::new(Sim::new(screen.take(), limits))),
    },
    Row {
        choice: Choice::Null,
        auto: None,
        instead: "--backend sim draws the swing",
        open: |_, _, _| Ok(Box::new(Null)),
    },
];

fn auto_or_number(text: &str) -> Result<Option<u32>, String> {
    if text == "auto" {
        return Ok(None);
    }
    let number = text.parse().map(Some);
    number.map_err(|_| "use auto, or the number, as in 0".to_owned())
}

/// Opens the backend for `choice`. The reason has what `auto` passed over.
pub(crate) fn pick(
    choice: Choice,
    hardware: &Hardware,
    limits: Limits,
    mut screen: Screen,
) -> Result<Picked, PickError> {
    let mut failed = String::new();
    for row in BACKENDS {
        let why = match row.auto {
            _ if row.choice == choice => "asked for by --backend".to_owned(),
            Some(auto) if choice == Choice::Auto => format!("auto: {}", auto(hardware)),
            _ => continue,
        };
        let name = row.choice.into();
        match (row.open)(hardware, limits, &mut screen) {
            Ok(servo) => {
                let place = servo.place().map(|place| format!(", {place}"));
                let reason = format!("{why}{}{failed}", place.unwrap_or_default());
                let backend = Backend { name, reason };
                return Ok(Picked { servo, backend });
            }
            Err(source) if choice == Choice::Auto => {
                // Writing to a String cannot fail.
                let _ = write!(failed, "; not {name}: {}", chain(source.as_ref()));
            }
            Err(source) => {
                return Err(PickError::Open {
                    name,
                    instead: row.instead,
                    source,
                });
            }
        }
    }
    Err(PickError::NotHere)
}
