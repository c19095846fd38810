use std::str::FromStr;
use std::time::Duration;

/// How often all containers are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// Never.
    Off,
    /// Once in that time.
    Span(Duration),
}

/// What was given is no such span.
#[derive(Debug, thiserror::Error)]
#[error("expected off, or a span between 100ms and 60s such as 1s or 500ms")]
pub struct NoSpan;

const LEAST: Duration = Duration::from_millis(100);
const MOST: Duration = Duration::from_mins(1);

// === impl Every ===

impl FromStr for Every {
    type Err = NoSpan;

    fn from_str(text: &str) -> Result<Self, NoSpan> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let number = |digits: &str| digits.parse().map_err(|_| NoSpan);
        let span = if let Some(digits) = text.strip_suffix("ms") {
            Duration::from_millis(number(digits)?)
        } else {
            Duration::from_secs(number(text.strip_suffix('s').ok_or(NoSpan)?)?)
        };
        if (LEAST..=MOST).contains(&span) {
            Ok(Self::Span(span))
        } else {
            Err(NoSpan)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_a_unit_and_bounds() {
        let check = |text: &str, expect: Option<Every>| {
            assert_eq!(text.parse::<Every>().ok(), expect, "{text}");
        };
        let ms = |ms| Some(Every::Span(Duration::from_millis(ms)));
        check("off", Some(Every::Off));
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
