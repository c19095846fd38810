use std::str::FromStr;
use std::time::Duration;

/// How often all containers are sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SamplePeriod {
    /// Never.
    Off,
    /// Once in that time.
    Span(Duration),
}

/// A text is no such period.
#[derive(Debug, thiserror::Error)]
#[error("expected off, or a span between 100ms and 60s such as 1s or 500ms")]
pub struct BadPeriod;

const LEAST: Duration = Duration::from_millis(100);
const MOST: Duration = Duration::from_mins(1);

// === impl SamplePeriod ===

impl FromStr for SamplePeriod {
    type Err = BadPeriod;

    fn from_str(text: &str) -> Result<Self, BadPeriod> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let number = |digits: &str| digits.parse().map_err(|_| BadPeriod);
        let span = if let Some(digits) = text.strip_suffix("ms") {
            Duration::from_millis(number(digits)?)
        } else {
            Duration::from_secs(number(text.strip_suffix('s').ok_or(BadPeriod)?)?)
        };
        if (LEAST..=MOST).contains(&span) {
            Ok(Self::Span(span))
        } else {
            Err(BadPeriod)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_a_unit_and_bounds() {
        let check = |text: &str, expect: Option<SamplePeriod>| {
            assert_eq!(text.parse::<SamplePeriod>().ok(), expect, "{text}");
        };
        let ms = |ms| Some(SamplePeriod::Span(Duration::from_millis(ms)));
        check("off", Some(SamplePeriod::Off));
        check("1s", ms(1000));
        check("250ms", ms(250));
        check("60s", ms(60_000));
        for wrong in [
            "",
            "1",
            "0s",
            "99ms",
            "61s",
            "1m",
            "-1s",
            "s",
            "99999999999999999999s",
        ] {
            check(wrong, None);
        }
    }
}
