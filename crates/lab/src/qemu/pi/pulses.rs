//! From QEMU's trace to the pulses on a pin, by the clock of the board that it emulates. Pure.
//!
//! Lines of `-d trace:memory_region_ops_write,trace:bcm2835_systmr_read` (QEMU 7.2):
//!
//! ```text
//! bcm2835_systmr_read timer read: offset 0x4 data 0x1f09c2d
//! memory_region_ops_write cpu 0 mr 0x7f8b99379850 addr 0x3f20001c value 0x40000 size 4 name 'bcm2835_gpio'
//! ```

use std::time::Duration;

/// CLO, the lower half of the system timer's microseconds, from the block's address on: BCM2835 ARM
/// Peripherals, 12.1.
const CLOCK: u64 = 0x4;

/// GPSET0 and GPCLR0, from the block's address on: the same, 6.1. The blocks lie at 0x20200000
/// (Pi 1) and 0x3f200000 (Pi 2 and 3); the offset is below the page's 4 KiB in both.
const SET: u64 = 0x1c;
const CLEAR: u64 = 0x28;

/// The PL011's data register, from the block's address on: the same, 13.4.
const DATA: u64 = 0x0;

/// So many pulses that are alike make a position; fewer belong to a ramp.
const FEW: usize = 3;

/// What QEMU calls its events.
const READ: &str = "bcm2835_systmr_read";
const WRITE: &str = "memory_region_ops_write";

/// What a line of the trace records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The guest reads its clock: the microseconds since the board's start, modulo 2³².
    Clock(u32),
    /// The guest sets the pin high, or low.
    Edge { high: bool },
    /// The guest writes a byte to its serial line.
    Serial(u8),
}

/// A time that the pin was high.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulse {
    /// When it began, since the first reading of the board's clock.
    pub at: Duration,
    /// How long it lasted.
    pub width: Duration,
}

/// Pulses in a row that are of the same position of a servo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The position, in µs.
    pub nominal_us: u64,
    /// How many pulses.
    pub pulses: usize,
    /// The median of their widths, in µs.
    pub median_us: u64,
    /// When the first one began.
    pub at: Duration,
}

/// Makes pulses of events.
#[derive(Debug, Default)]
pub(super) struct Meter {
    reading: Option<u32>,
    now: Duration,
    high_since: Option<Duration>,
}

// === impl Meter ===

impl Meter {
    /// An edge is at the last reading before it: software PWM reads the clock until it is time.
    pub(super) fn feed(&mut self, event: Event) -> Option<Pulse> {
        match event {
            Event::Clock(reading) => {
                let before = self.reading.replace(reading).unwrap_or(reading);
                self.now += Duration::from_micros(reading.wrapping_sub(before).into());
                None
            }
            Event::Edge { high: true } => {
                self.high_since.get_or_insert(self.now);
                None
            }
            Event::Serial(_) => None,
            Event::Edge { high: false } => {
                let at = self.high_since.take()?;
                let width = self.now.saturating_sub(at);
                Some(Pulse { at, width })
            }
        }
    }

    /// The board's clock, since its first reading.
    pub(super) fn now(&self) -> Duration {
        self.now
    }

    /// Whether the pin is high.
    pub(super) fn is_high(&self) -> bool {
        self.high_since.is_some()
    }
}

/// What a line of the trace records of the clock, the serial line or `pin`, if anything.
pub(super) fn parse_event(line: &str, pin: u8) -> Option<Event> {
    let (event, rest) = line.trim_end().split_once(' ')?;
    let field = |name: &str| {
        let mut words = rest.split_whitespace();
        words.find(|word| *word == name)?;
        u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()
    };
    if event == READ {
        let clock = field("offset")? == CLOCK;
        return clock.then_some(Event::Clock(field("data")?.try_into().ok()?));
    }
    if event != WRITE {
        return None;
    }
    let (_, device) = rest.split_once(" name ")?;
    // Devices lie at page boundaries.
    let (register, value) = (field("addr")? & 0xfff, field("value")?);
    match (device, register) {
        ("'bcm2835_gpio'", SET | CLEAR) => {
            let high = register == SET;
            let ours = value & 1_u64.checked_shl(pin.into())? != 0;
            ours.then_some(Event::Edge { high })
        }
        // The byte has errors of receiving above it.
        ("'pl011'", DATA) => Some(Event::Serial(value.to_le_bytes()[0])),
        _ => None,
    }
}

/// Whether it is a line of the trace at all.
pub(super) fn is_trace(line: &str) -> bool {
    let event = line.split(' ').next().unwrap_or_default();
    [READ, WRITE].contains(&event)
}

/// The positions that `pulses` are of, in order, among `nominals` (in µs).
///
/// A pulse is of the position that it is within a fifth of. Those of none are left out: a servo's
/// ramps, and the few that a slow board ends late.
pub fn runs(pulses: &[Pulse], nominals: &[u64]) -> Vec<Run> {
    let near = |pulse: &Pulse| {
        let width = u64::try_from(pulse.width.as_micros()).ok()?;
        let nominal = nominals
            .iter()
            .find(|nominal| width.abs_diff(**nominal) <= *nominal / 5)?;
        Some((*nominal, width, pulse.at))
    };
    let mut groups: Vec<(u64, Duration, Vec<u64>)> = Vec::new();
    for alike in pulses
        .iter()
        .filter_map(near)
        .collect::<Vec<_>>()
        .chunk_by(|one, next| one.0 == next.0)
        .filter(|alike| alike.len() >= FEW)
    {
        let widths = alike.iter().map(|(_, width, _)| *width);
        match (groups.last_mut(), alike.first()) {
            // What lay between them was left out.
            (Some((nominal, _, known)), Some(first)) if *nominal == first.0 => known.extend(widths),
            (_, Some((nominal, _, at))) => groups.push((*nominal, *at, widths.collect())),
            (_, None) => {}
        }
    }
    groups
        .into_iter()
        .map(|(nominal_us, at, mut widths)| {
            widths.sort_unstable();
            Run {
                nominal_us,
                pulses: widths.len(),
                median_us: widths.get(widths.len() / 2).copied().unwrap_or_default(),
                at,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(addr: &str, value: &str, name: &str) -> String {
        format!(
            "memory_region_ops_write cpu 1 mr 0x7f8b99379850 addr {addr} value {value} size 4 \
             name '{name}'\n"
        )
    }

    #[test]
    fn other_lines_are_no_events() {
        let check = |line: &str, expect: Option<Event>| {
            assert_eq!(parse_event(line, 18), expect, "{line}");
        };
        let (rise, fall) = (Event::Edge { high: true }, Event::Edge { high: false });
        let gpio = "bcm2835_gpio";
        check(&write("0x3f20001c", "0x40000", gpio), Some(rise));
        check(&write("0x3f200028", "0x40000", gpio), Some(fall));
        check(&write("0x2020001c", "0x40000", gpio), Some(rise));
        check(&write("0x3f20001c", "0x20000", gpio), None);
        check(&write("0x3f200020", "0x40000", gpio), None);
        check(&write("0x3f20001c", "0x40000", "dwc2-io"), None);
        let byte = Some(Event::Serial(b'@'));
        check(&write("0x3f201000", "0x40", "pl011"), byte);
        check(&write("0x3f201038", "0x40", "pl011"), None);
        let clock = |offset: &str, data: &str| {
            format!("bcm2835_systmr_read timer read: offset {offset} data {data}\n")
        };
        check(&clock("0x4", "0x1f09c2d"), Some(Event::Clock(0x1f0_9c2d)));
        check(&clock("0x8", "0x1"), None);
        check(&clock("0x4", "0x100000000"), None);
        check("qemu-system-aarch64: warning: a line of another kind", None);
        check("", None);
    }

    #[test]
    fn any_bytes_are_answered() {
        let whole = write("0x3f20001c", "0x40000", "bcm2835_gpio");
        for cut in 0..whole.len() - 1 {
            assert_eq!(parse_event(&whole[..cut], 18), None, "{cut}");
        }
        assert_eq!(parse_event(&whole, 64), None);
    }

    #[test]
    fn a_pulse_is_measured_by_the_boards_clock() {
        let micros = Duration::from_micros;
        let mut meter = Meter::default();
        let mut feed = |event| (meter.feed(event), meter.is_high());
        assert_eq!(feed(Event::Clock(u32::MAX - 9)), (None, false));
        assert_eq!(feed(Event::Edge { high: false }), (None, false));
        assert_eq!(feed(Event::Clock(u32::MAX)), (None, false));
        assert_eq!(feed(Event::Edge { high: true }), (None, true));
        // The reading begins anew.
        assert_eq!(feed(Event::Clock(500)), (None, true));
        assert_eq!(feed(Event::Clock(999)), (None, true));
        let pulse = Pulse {
            at: micros(9),
            width: micros(1000),
        };
        assert_eq!(feed(Event::Edge { high: false }), (Some(pulse), false));
        assert_eq!(feed(Event::Clock(1000)), (None, false));
        assert_eq!(feed(Event::Edge { high: false }), (None, false));
        assert_eq!(meter.now(), micros(1010));
    }

    #[test]
    fn a_position_is_many_pulses_that_are_alike() {
        let check = |widths: &[u64], expect: &[(u64, usize, u64)]| {
            let pulses: Vec<Pulse> = widths
                .iter()
                .map(|width| Pulse {
                    at: Duration::ZERO,
                    width: Duration::from_micros(*width),
                })
                .collect();
            let runs = runs(&pulses, &[1000, 2000]);
            let runs: Vec<_> = runs
                .iter()
                .map(|run| (run.nominal_us, run.pulses, run.median_us))
                .collect();
            assert_eq!(runs, expect, "{widths:?}");
        };
        check(&[], &[]);
        check(
            &[1028, 999, 1010, 2100, 2050, 2060],
            &[(1000, 3, 1010), (2000, 3, 2060)],
        );
        // Late ends, within a position and as one pulse of another.
        check(
            &[1000, 4404, 1010, 1020, 1030, 2100, 1040, 1050, 1060],
            &[(1000, 7, 1030)],
        );
        // A ramp.
        check(
            &[1000, 1000, 1000, 1300, 1450, 1580, 2000, 2000, 2000],
            &[(1000, 3, 1000), (2000, 3, 2000)],
        );
        check(&[1000, 1000], &[]);
    }
}
