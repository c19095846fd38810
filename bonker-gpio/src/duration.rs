//! A span of time as people write it: `250ms`, `10m`, `1h30m`.

use std::time::Duration;

use jiff::SignedDuration;

/// A clock cannot show the end of every span.
pub(crate) const YEAR: Duration = Duration::from_hours(24 * 365);

/// Reads one; negative ones and bare numbers are refused.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let span = text.parse::<SignedDuration>().ok();
    let span = span.and_then(|span| Duration::try_from(span).ok());
    span.ok_or_else(|| {
        "use a number and a unit (ms, s, m or h), as in 250ms, 30s, 10m or 1h30m".to_owned()
    })
}

/// A parser of spans from `least` to `most`.
pub(crate) fn duration_within(
    least: Duration,
    most: Duration,
) -> impl Fn(&str) -> Result<Duration, String> + Clone {
    move |text| {
        let span = duration(text)?;
        if !(least..=most).contains(&span) {
            let [least, most] = [least, most].map(format_duration);
            return Err(format!("use {least} to {most}"));
        }
        Ok(span)
    }
}

/// The text of `span`, as the default of a flag.
pub(crate) fn format_duration(span: Duration) -> String {
    format!("{:#}", SignedDuration::try_from(span).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{duration, format_duration};

    #[test]
    fn a_span_is_written_as_it_is_read() {
        for text in ["0s", "250ms", "10s", "5m", "12h", "1h 30m", "1s 500ms"] {
            assert_eq!(format_duration(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn spans_have_a_unit_and_no_sign() {
        let check = |text: &str, wanted: Option<u64>| {
            let read = duration(text);
            assert_eq!(
                read.clone().ok(),
                wanted.map(Duration::from_millis),
                "{text}"
            );
            if let Err(why) = read {
                assert!(why.starts_with("use a number and a unit"), "{text}: {why}");
            }
        };
        check("250ms", Some(250));
        check("10m", Some(600_000));
        check("1h30m", Some(5_400_000));
        check("0s", Some(0));
        check("10", None);
        check("-1s", None);
        check("", None);
        check("soon", None);
        check("8d", None);
        check("9999999999999999999h", None);
    }
}
