//! The results of the tiers, and the closing table.

use std::fmt::Write as _;
use std::time::Duration;

use super::Tier;

/// The result of one tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It ran: this many tests passed and failed.
    Ran { passed: u32, failed: u32 },
    /// It could not run here.
    Skipped(String),
}

impl Outcome {
    pub(super) fn ran(passed: u32, failed: u32) -> Self {
        Self::Ran { passed, failed }
    }

    /// Checks, each of which passed or not.
    pub(super) fn of_checks(results: &[bool]) -> Self {
        let count = |wanted| results.iter().filter(|good| **good == wanted).count();
        let count = |wanted| u32::try_from(count(wanted)).unwrap_or(u32::MAX);
        Self::ran(count(true), count(false))
    }
}

/// The tiers so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    rows: Vec<(Tier, Outcome, Duration)>,
}

impl Report {
    pub(super) fn add(&mut self, tier: Tier, outcome: Outcome, took: Duration) {
        self.rows.push((tier, outcome, took));
    }

    /// The table with the totals as its last line, and whether all is well: with
    /// `strict`, a skipped tier is a failure.
    pub(super) fn close(&self, strict: bool) -> (String, bool) {
        let mut text = format!(
            "\n{:<12} {:>7} {:>7} {:>8}  {}",
            "tier", "passed", "failed", "time", ""
        );
        let (mut all_passed, mut all_failed, mut skipped) = (0_u32, 0_u32, false);
        for (tier, outcome, took) in &self.rows {
            let seconds = took.as_secs_f64();
            let (passed, failed, note) = match outcome {
                Outcome::Ran { passed, failed } => (*passed, *failed, "ran".to_owned()),
                Outcome::Skipped(why) => {
                    skipped = true;
                    (0, u32::from(strict), format!("skipped: {why}"))
                }
            };
            all_passed = all_passed.saturating_add(passed);
            all_failed = all_failed.saturating_add(failed);
            let name = tier.to_string();
            let _ = write!(
                text,
                "\n{name:<12} {passed:>7} {failed:>7} {seconds:>6.1} s  {note}"
            );
        }
        if skipped {
            text.push_str(if strict {
                "\nA skipped tier counts as a failure here, because CI is set."
            } else {
                "\nSome tiers were SKIPPED: not everything was tested."
            });
        }
        let _ = write!(text, "\n{all_passed} passed, {all_failed} failed");
        (text, all_failed == 0 && all_passed > 0)
    }
}

/// Passed and failed of a `test result:` line of libtest.
pub(super) fn counts(line: &str) -> Option<(u32, u32)> {
    let (_, rest) = line.split_once("test result: ")?;
    let number = |unit: &str| {
        let (before, _) = rest.split_once(unit)?;
        before
            .rsplit(|c: char| !c.is_ascii_digit())
            .next()?
            .parse()
            .ok()
    };
    Some((number(" passed")?, number(" failed")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_the_last_line() {
        let mut report = Report::default();
        report.add(
            Tier::Lint,
            Outcome::of_checks(&[true]),
            Duration::from_secs(2),
        );
        report.add(Tier::Unit, Outcome::ran(40, 0), Duration::from_millis(1500));
        let (text, good) = report.close(true);
        assert_eq!(text.lines().last(), Some("41 passed, 0 failed"));
        assert!(
            text.contains("unit              40       0    1.5 s  ran"),
            "{text}"
        );
        assert!(good);
    }

    #[test]
    fn a_failure_and_no_tests_at_all_are_bad() {
        let mut report = Report::default();
        assert!(!report.close(false).1);
        report.add(Tier::Unit, Outcome::ran(0, 0), Duration::ZERO);
        assert!(!report.close(false).1);
        report.add(Tier::Kernel, Outcome::ran(9, 1), Duration::ZERO);
        let (text, good) = report.close(false);
        assert_eq!(text.lines().last(), Some("9 passed, 1 failed"));
        assert!(!good);
    }

    #[test]
    fn a_skip_is_loud_and_in_ci_a_failure() {
        let mut report = Report::default();
        report.add(Tier::Lint, Outcome::of_checks(&[true]), Duration::ZERO);
        report.add(
            Tier::Kernel,
            Outcome::Skipped("not root".into()),
            Duration::ZERO,
        );
        let (text, good) = report.close(false);
        assert!(
            text.contains("skipped: not root") && text.contains("SKIPPED"),
            "{text}"
        );
        assert!(good);
        let (text, good) = report.close(true);
        assert_eq!(text.lines().last(), Some("1 passed, 1 failed"));
        assert!(!good);
    }

    #[test]
    fn libtest_is_understood() {
        let line = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s";
        assert_eq!(counts(line), Some((12, 0)));
        assert_eq!(
            counts("test result: FAILED. 3 passed; 2 failed; 0 ignored"),
            Some((3, 2))
        );
        assert_eq!(counts("test tests::a ... ok"), None);
        assert_eq!(counts("test result: "), None);
    }
}
