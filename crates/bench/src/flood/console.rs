//! The kernel's console: a line of it for each kill, at a serial port's pace.

use std::fs;

use anyhow::{Context as _, Result};

use xtask::terminal;

const PRINTK: &str = "/proc/sys/kernel/printk";

/// Up to this the kernel's errors are left out: `Killed process …` is one (`KERN_ERR`, 3).
const WITHOUT_ERRORS: u8 = 3;

/// While it lives the console is without kills; then it is as it was.
#[derive(Debug)]
pub(super) struct Quiet {
    before: u8,
}

/// What of the kernel's log goes to consoles: what is below this level.
fn level() -> Result<u8> {
    let text = fs::read_to_string(PRINTK).with_context(|| format!("read {PRINTK}"))?;
    let first = text.split_whitespace().next();
    first
        .and_then(|level| level.parse().ok())
        .with_context(|| format!("a level in {PRINTK}"))
}

/// Whether the kernel prints kills to a console.
pub(super) fn prints_kills() -> Result<bool> {
    let consoles = fs::read_to_string("/proc/consoles").unwrap_or_default();
    Ok(level()? > WITHOUT_ERRORS && !consoles.trim().is_empty())
}

// === impl Quiet ===

impl Quiet {
    pub(super) fn start() -> Result<Self> {
        let quiet = Self { before: level()? };
        set(quiet.before.min(WITHOUT_ERRORS))?;
        Ok(quiet)
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Err(error) = set(self.before) {
            terminal::error(&error);
        }
    }
}

fn set(level: u8) -> Result<()> {
    fs::write(PRINTK, level.to_string()).with_context(|| format!("write {level} to {PRINTK}"))
}
