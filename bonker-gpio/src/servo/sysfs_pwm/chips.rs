//! Which of the machine's PWM chips has the pin, and as which channel.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::SysfsPwmError;
use crate::servo::PwmSelection;

/// A chip as sysfs shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chip {
    /// N of `pwmchipN`.
    pub(super) number: u32,
    pub(super) path: PathBuf,
    /// Name of the device behind it, as `1f00098000.pwm`.
    pub(super) device: String,
    pub(super) channels: u32,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// PWM0 and PWM1 of the Raspberry Pi up to 4.
    Bcm2835,
    /// PWM0 of the Raspberry Pi 5's RP1. Its second one turns the fan.
    Rp1,
    /// One pin, by the overlays pwm-gpio and pwm-pio; `None` if the tree does not have its number.
    Pin(Option<u32>),
    /// A fan, a backlight, an earphone: used only if --pwm-chip names it.
    Other,
}

/// The chips below `root`, by number. None if there is no `root`: the kernel has no PWM.
pub(super) fn list(root: &Path) -> Vec<Chip> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let mut chips: Vec<Chip> = entries.filter_map(|entry| read(&entry.path())).collect();
    chips.sort_by_key(|chip| chip.number);
    chips
}

/// The chip and channel for `pin` (BCM numbering).
pub(super) fn choose(
    chips: &[Chip],
    wish: PwmSelection,
    pin: u8,
) -> Result<(&Chip, u32), SysfsPwmError> {
    let chip = match wish.chip {
        Some(number) => chips.iter().find(|chip| chip.number == number),
        // Made for this very pin; before those that have it only by the firmware's settings.
        None => [true, false].iter().find_map(|single| {
            let fits = |chip: &&Chip| {
                matches!(chip.kind, Kind::Pin(_)) == *single
                    && chip.kind != Kind::Other
                    && (wish.channel.is_some() && !*single || chip.kind.channel(pin).is_some())
            };
            chips.iter().find(fits)
        }),
    };
    let chip = chip.ok_or_else(|| SysfsPwmError::NoChip {
        wanted: wish.chip.map_or_else(
            || format!("GPIO {pin}"),
            |number| format!("--pwm-chip {number}"),
        ),
        there: there(chips),
        overlay: overlay(pin),
    })?;
    let only = (chip.channels == 1).then_some(0);
    let channel = wish.channel.or(chip.kind.channel(pin)).or(only);
    let channel = channel.ok_or_else(|| SysfsPwmError::NoChannel {
        chip: chip.number,
        device: chip.device.clone(),
        pin,
    })?;
    if channel >= chip.channels {
        return Err(SysfsPwmError::Channels {
            chip: chip.number,
            channels: chip.channels,
            channel,
        });
    }
    Ok((chip, channel))
}

fn read(path: &Path) -> Option<Chip> {
    let number = path.file_name()?.to_str()?.strip_prefix("pwmchip")?;
    let number = number.parse().ok()?;
    let device = fs::read_link(path.join("device")).unwrap_or_default();
    let device = device.file_name().unwrap_or_default();
    let device = device.to_string_lossy().into_owned();
    let channels = String::from_utf8(start_of(&path.join("npwm"))).ok()?;
    let kind = kind(path, &device);
    Some(Chip {
        number,
        path: path.to_owned(),
        device,
        channels: channels.trim().parse().ok()?,
        kind,
    })
}

/// By the device, not the chip's number, which changes between kernels: 1f00098000.pwm was
/// pwmchip2 and became pwmchip0. The BCM2835's registers are at 0x20c000 of the peripherals,
/// which begin at 0x20000000, 0x3f000000 or 0xfe000000; the Pi 4 has a second such chip, at
/// 0x20c800, for its earphones.
fn kind(path: &Path, device: &str) -> Kind {
    if device == "1f00098000.pwm" {
        return Kind::Rp1;
    }
    if device.len() == "fe20c000.pwm".len() && device.ends_with("20c000.pwm") {
        return Kind::Bcm2835;
    }
    // Strings that end in NUL: Documentation/devicetree.
    let compatible = start_of(&path.join("device/of_node/compatible"));
    let single = compatible
        .split(|byte| *byte == 0)
        .any(|name| name == b"pwm-gpio" || name == b"raspberrypi,pwm-pio-rp1");
    if !single {
        return Kind::Other;
    }
    // Cells of 32 bits, big-endian: controller, pin, flags.
    let cells = start_of(&path.join("device/of_node/gpios"));
    let pin = cells.get(4..8).and_then(|cell| cell.try_into().ok());
    Kind::Pin(pin.map(u32::from_be_bytes))
}

/// The first bytes of a small file, or none.
fn start_of(path: &Path) -> Vec<u8> {
    let mut start = Vec::new();
    // A property that cannot be read is ignored.
    let _ = fs::File::open(path).map(|file| file.take(256).read_to_end(&mut start));
    start
}

fn there(chips: &[Chip]) -> String {
    let names: Vec<String> = chips
        .iter()
        .map(|chip| format!("pwmchip{} ({})", chip.number, chip.device))
        .collect();
    if names.is_empty() {
        "there is no PWM chip".to_owned()
    } else {
        format!("there are {}", names.join(", "))
    }
}

/// The line of config.txt that would help: alternate functions by the BCM2835's manual; the
/// Pi 5 takes the same line.
fn overlay(pin: u8) -> String {
    match pin {
        12 | 13 => format!("dtoverlay=pwm,pin={pin},func=4"),
        18 | 19 => format!("dtoverlay=pwm,pin={pin},func=2"),
        _ => format!("dtoverlay=pwm-gpio,gpio={pin}"),
    }
}

// === impl Kind ===

impl Kind {
    /// The channel that `pin` is, if it can be one.
    fn channel(self, pin: u8) -> Option<u32> {
        match (self, pin) {
            (Self::Bcm2835, 12 | 18) | (Self::Rp1, 12) => Some(0),
            (Self::Bcm2835, 13 | 19) | (Self::Rp1, 13) => Some(1),
            (Self::Rp1, 18) => Some(2),
            (Self::Rp1, 19) => Some(3),
            (Self::Pin(own), _) => (own == Some(pin.into())).then_some(0),
            _ => None,
        }
    }
}
