//! PSI: Documentation/accounting/psi.rst of the kernel.

use super::files::{Dir, Unread};
use crate::memory::{Percent, Pressure, Stalled};

/// A file of it.
pub(super) fn read(dir: &mut Dir<'_>, name: &'static str) -> Result<Pressure, Unread> {
    parse(dir.read(name)?).ok_or(Unread::Strange { name })
}

/// `None` where it is something else.
pub(crate) fn parse(text: &str) -> Option<Pressure> {
    Some(Pressure {
        some: line(text, "some")?,
        full: line(text, "full")?,
    })
}

/// The same of `cpu.pressure`, which has no line `full` before 5.13: that is zero.
pub(crate) fn parse_cpu(text: &str) -> Option<Pressure> {
    Some(Pressure {
        some: line(text, "some")?,
        full: line(text, "full").unwrap_or_default(),
    })
}

fn line(text: &str, kind: &str) -> Option<Stalled> {
    let rest = text.lines().find_map(|line| line.strip_prefix(kind))?;
    stalled(rest.strip_prefix(' ')?)
}

fn stalled(text: &str) -> Option<Stalled> {
    let value = |key: &str| {
        text.split(' ')
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    };
    Some(Stalled {
        avg10: percent(value("avg10")?)?,
        avg60: percent(value("avg60")?)?,
        avg300: percent(value("avg300")?)?,
        total_us: value("total")?.parse().ok()?,
    })
}

/// Always with two digits after the point.
fn percent(text: &str) -> Option<Percent> {
    let (whole, hundredths) = text.split_once('.')?;
    if hundredths.len() != 2 {
        return None;
    }
    let whole: u32 = whole.parse().ok()?;
    let hundredths: u32 = hundredths.parse().ok()?;
    Some(Percent(whole.checked_mul(100)?.checked_add(hundredths)?))
}
