//! From QEMU's trace of register writes to the pulses on a pin. Pure.
//!
//! A line of `-d trace:memory_region_ops_write -msg timestamp=on` (QEMU 7.2):
//!
//! ```text
//! 17936@1795273379.582010:memory_region_ops_write cpu 1 mr 0x7f8b99379850 addr 0x3f20001c value 0x40000 size 4 name 'bcm2835_gpio'
//! ```

use std::time::Duration;

/// GPSET0 and GPCLR0, from the block's address on: BCM2835 ARM Peripherals, 6.1. The blocks lie at
/// 0x20200000 (Pi 1) and 0x3f200000 (Pi 2 and 3); the offset is below the page's 4 KiB in both.
const SET: u64 = 0x1c;
const CLEAR: u64 = 0x28;

/// So many pulses that are alike make a position; fewer are what a busy host makes of one.
const FEW: usize = 3;

/// A pin that is set to a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edge {
    /// Since the Unix epoch, on the host's clock.
    at: Duration,
    high: bool,
}

/// A time that the pin was high.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulse {
    /// When it began, since the Unix epoch, on the host's clock.
    pub at: Duration,
    /// How long it lasted.
    pub width: Duration,
}

/// Pulses in a row that ask a servo for the same position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The position asked for, in µs.
    pub nominal_us: u64,
    /// How many pulses.
    pub pulses: usize,
    /// The median of their widths, in µs.
    pub median_us: u64,
    /// When the first one began.
    pub at: Duration,
}

/// Makes pulses of edges.
#[derive(Debug, Default)]
pub(super) struct Meter {
    high_since: Option<Duration>,
}

// === impl Meter ===

impl Meter {
    pub(super) fn feed(&mut self, edge: Edge) -> Option<Pulse> {
        if edge.high {
            self.high_since.get_or_insert(edge.at);
            return None;
        }
        let at = self.high_since.take()?;
        let width = edge.at.checked_sub(at)?;
        Some(Pulse { at, width })
    }

    /// Whether the pin is high.
    pub(super) fn is_high(&self) -> bool {
        self.high_since.is_some()
    }
}

/// What a line of the trace says of `pin`, if anything.
pub(super) fn edge(line: &str, pin: u8) -> Option<Edge> {
    let (head, rest) = line.split_once(":memory_region_ops_write ")?;
    if !rest.trim_end().ends_with("name 'bcm2835_gpio'") {
        return None;
    }
    let field = |name: &str| {
        let mut words = rest.split_whitespace();
        words.find(|word| *word == name)?;
        u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()
    };
    let high = match field("addr")? & 0xfff {
        SET => true,
        CLEAR => false,
        _ => return None,
    };
    if field("value")? & 1_u64.checked_shl(pin.into())? == 0 {
        return None;
    }
    let (seconds, micros) = head.split_once('@')?.1.split_once('.')?;
    let at = Duration::from_secs(seconds.parse().ok()?);
    let micros = Duration::from_micros(micros.parse().ok()?);
    Some(Edge {
        at: at.checked_add(micros)?,
        high,
    })
}

/// The positions that `pulses` ask for, in order, of those `nominals` (in µs).
///
/// A pulse is of the position that it is within a fifth of. Those of none are left out: a servo's
/// ramps, and pulses that an emulator that had no CPU ended late.
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

    fn line(at: &str, addr: &str, value: &str, name: &str) -> String {
        format!(
            "17936@{at}:memory_region_ops_write cpu 1 mr 0x7f8b99379850 addr {addr} value {value} \
             size 4 name '{name}'"
        )
    }

    #[test]
    fn edges_of_the_pin_and_no_other() {
        let check = |line: &str, high: Option<bool>| {
            assert_eq!(edge(line, 18).map(|edge| edge.high), high, "{line}");
        };
        let gpio = "bcm2835_gpio";
        check(&line("1.5", "0x3f20001c", "0x40000", gpio), Some(true));
        check(&line("1.5", "0x3f200028", "0x40000", gpio), Some(false));
        check(&line("1.5", "0x2020001c", "0x40000", gpio), Some(true));
        check(&line("1.5", "0x3f20001c", "0x20000", gpio), None);
        check(&line("1.5", "0x3f200020", "0x40000", gpio), None);
        check(&line("1.5", "0x3f20001c", "0x40000", "dwc2-io"), None);
        check("qemu-system-aarch64: warning: a line of another kind", None);
        check("", None);
    }

    #[test]
    fn any_bytes_are_answered() {
        let whole = line("17.000001", "0x3f20001c", "0x40000", "bcm2835_gpio");
        for cut in 0..whole.len() {
            assert_eq!(edge(&whole[..cut], 18), None, "{cut}");
        }
        assert_eq!(edge(&whole, 64), None);
    }

    #[test]
    fn a_pulse_is_from_set_to_clear() {
        let at = |micros| Duration::from_micros(micros);
        let edge = |micros, high| Edge {
            at: at(micros),
            high,
        };
        let mut meter = Meter::default();
        assert_eq!(meter.feed(edge(5, false)), None);
        assert_eq!(meter.feed(edge(10, true)), None);
        assert!(meter.is_high());
        let pulse = Pulse {
            at: at(10),
            width: at(1000),
        };
        assert_eq!(meter.feed(edge(1010, false)), Some(pulse));
        assert_eq!(meter.feed(edge(1020, false)), None);
        assert!(!meter.is_high());
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
