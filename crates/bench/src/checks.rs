//! Promises, and whether they hold. Pure.

use std::fmt::Write as _;

use anyhow::{Result, ensure};

/// Promises, each with what was found.
#[derive(Debug, Default)]
pub(super) struct Checks(Vec<Check>);

#[derive(Debug)]
struct Check {
    what: &'static str,
    found: String,
    holds: bool,
}

// === impl Checks ===

impl Checks {
    pub(super) fn add(&mut self, what: &'static str, found: impl Into<String>, holds: bool) {
        self.0.push(Check {
            what,
            found: found.into(),
            holds,
        });
    }

    /// Two counts that are to be the same.
    pub(super) fn add_equal(&mut self, what: &'static str, found: u64, wanted: u64) {
        self.add(what, format!("{found} of {wanted}"), found == wanted);
    }

    /// A count that has a bound.
    pub(super) fn add_at_most(&mut self, what: &'static str, found: u64, most: u64) {
        self.add(what, found.to_string(), found <= most);
    }

    pub(super) fn broken(&self) -> Vec<&'static str> {
        let broken = self.0.iter().filter(|check| !check.holds);
        broken.map(|check| check.what).collect()
    }

    /// As a list in Markdown.
    pub(super) fn list(&self) -> String {
        let mut text = String::new();
        for check in &self.0 {
            let mark = if check.holds { "" } else { " **(broken)**" };
            let _infallible = writeln!(text, "- {}: {}{mark}", check.what, check.found);
        }
        text
    }
}

/// Fails and names what is broken.
pub(super) fn ensure_none(broken: &[&str]) -> Result<()> {
    ensure!(broken.is_empty(), "broken: {}", broken.join("; "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_broken_is_named_and_marked() {
        let mut checks = Checks::default();
        checks.add_equal("lines", 3, 3);
        checks.add("drift", "2", false);
        assert_eq!(checks.broken(), ["drift"]);
        assert_eq!(checks.list(), "- lines: 3 of 3\n- drift: 2 **(broken)**\n");
    }
}
