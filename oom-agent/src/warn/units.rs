//! Thresholds, times and points in flags and annotations.

use std::str::FromStr;
use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use pressure::{ExpressionError, Threshold};

/// A threshold, or none.
#[derive(Clone, Debug, PartialEq)]
pub struct When(pub Option<Threshold>);

// === impl When ===

impl FromStr for When {
    type Err = ExpressionError;

    fn from_str(text: &str) -> Result<Self, ExpressionError> {
        match text.trim_ascii() {
            "never" => Ok(Self(None)),
            _ => Threshold::parse_working_set(text).map(|threshold| Self(Some(threshold))),
        }
    }
}

/// Go's durations, of the first version, and bare seconds, which it took too; days and weeks, of the third.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let usage = "use a number and a unit, as in 250ms, 30s or 1m30s";
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let unusable = |why: jiff::Error| format!("{why}: {usage}");
    let span: Span = text.parse().map_err(unusable)?;
    let days = SpanRelativeTo::days_are_24_hours();
    let time = span.to_duration(days).map_err(unusable)?;
    Duration::try_from(time).map_err(|_| format!("it may not be negative: {usage}"))
}

/// Of the limit.
pub(crate) fn parse_points(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(points) if (0.0..100.0).contains(&points) => Ok(points),
        _ => Err("points are from 0 to less than 100".to_owned()),
    }
}

/// Each warning is a line, an Event, a request: not all the time.
pub(crate) fn parse_cooldown(text: &str) -> Result<Duration, String> {
    let cooldown = parse_time(text)?;
    if cooldown < Duration::from_secs(1) {
        return Err("it is 1s at least".to_owned());
    }
    Ok(cooldown)
}
