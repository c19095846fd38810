//! Pressure stall information: the kernel's Documentation/accounting/psi.rst.

use super::files::{Dir, ReadError};
use crate::memory::{Percent, Pressure, Stalled};

pub(super) fn read_psi(dir: &mut Dir<'_>, name: &'static str) -> Result<Pressure, ReadError> {
    parse_psi(dir.read_file(name)?).ok_or(ReadError::Malformed { name })
}

/// Parses a file of PSI; `None` where the text is something else.
pub(crate) fn parse_psi(text: &str) -> Option<Pressure> {
    Some(Pressure {
        some: parse_line(text, "some")?,
        full: parse_line(text, "full")?,
    })
}

/// Parses `cpu.pressure`. Before Linux 5.13 it has no line `full`, which is zero then.
pub(crate) fn parse_cpu_psi(text: &str) -> Option<Pressure> {
    Some(Pressure {
        some: parse_line(text, "some")?,
        full: parse_line(text, "full").unwrap_or_default(),
    })
}

fn parse_line(text: &str, kind: &str) -> Option<Stalled> {
    let rest = text.lines().find_map(|line| line.strip_prefix(kind))?;
    parse_stalled(rest.strip_prefix(' ')?)
}

fn parse_stalled(text: &str) -> Option<Stalled> {
    let value = |key: &str| {
        text.split(' ')
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    };
    Some(Stalled {
        avg10: parse_percent(value("avg10")?)?,
        avg60: parse_percent(value("avg60")?)?,
        avg300: parse_percent(value("avg300")?)?,
        total_us: value("total")?.parse().ok()?,
    })
}

/// The kernel always writes two digits after the point.
fn parse_percent(text: &str) -> Option<Percent> {
    let (whole, hundredths) = text.split_once('.')?;
    if hundredths.len() != 2 {
        return None;
    }
    let whole: u32 = whole.parse().ok()?;
    let hundredths: u32 = hundredths.parse().ok()?;
    Some(Percent(whole.checked_mul(100)?.checked_add(hundredths)?))
}
