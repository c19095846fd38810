//! The orders to the simulated servo, by a bonker's log. Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::agent::{field, message};

/// The span that a duty is of.
const MINUTE: Duration = Duration::from_mins(1);

/// Every pulse of a log, in order.
#[derive(Debug, Default)]
pub struct Steps(Vec<Step>);

#[derive(Debug)]
struct Step {
    at: Timestamp,
    pulse_us: u16,
    hold: Duration,
}

// === impl Steps ===

impl Steps {
    /// Of a bonker with `--backend sim --log-format json`, whose steps are in its log.
    pub fn parse<'a>(log: impl Iterator<Item = &'a str>) -> Self {
        Self(log.filter_map(step).collect())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The shortest and the longest pulse, in µs.
    pub fn extremes(&self) -> Option<(u16, u16)> {
        let pulses = || self.0.iter().map(|step| step.pulse_us);
        Some((pulses().min()?, pulses().max()?))
    }

    /// Where the servo was left, in µs.
    pub fn last(&self) -> Option<u16> {
        self.0.last().map(|step| step.pulse_us)
    }

    /// The longest time that pulses were to be on in any minute.
    pub fn busiest_minute(&self) -> Duration {
        let minute = |from: &Step| {
            let until = from.at + MINUTE;
            let inside = |step: &&Step| (from.at..until).contains(&step.at);
            self.0.iter().filter(inside).map(|step| step.hold).sum()
        };
        self.0.iter().map(minute).max().unwrap_or_default()
    }
}

fn step(line: &str) -> Option<Step> {
    let number = |name| field(line, name)?.parse().ok();
    (message(line)? == "swing step").then_some(())?;
    Some(Step {
        at: field(line, "timestamp")?.parse().ok()?,
        pulse_us: number("pulse_us").and_then(|us: u64| us.try_into().ok())?,
        hold: Duration::from_millis(number("hold_ms")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at: &str, pulse_us: u16, hold_ms: u16) -> String {
        format!(
            r#"{{"timestamp":"2026-11-21T16:{at}Z","level":"INFO","fields":{{"message":"swing step","pulse_us":{pulse_us},"hold_ms":{hold_ms}}}}}"#
        )
    }

    #[test]
    fn a_duty_is_of_any_minute() {
        let lines = [
            line("00:00.0", 1000, 400),
            r#"{"timestamp":"2026-11-21T16:00:00Z","fields":{"message":"bonked"}}"#.to_owned(),
            line("00:59.9", 2000, 250),
            line("01:00.1", 1000, 350),
            line("05:00.0", 1400, 300),
        ];
        let steps = Steps::parse(lines.iter().map(String::as_str));
        assert_eq!(steps.count(), 4);
        assert_eq!(steps.extremes(), Some((1000, 2000)));
        assert_eq!(steps.last(), Some(1400));
        assert_eq!(steps.busiest_minute(), Duration::from_millis(650));
        assert_eq!(Steps::default().extremes(), None);
    }
}
