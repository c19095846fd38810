//! A span of time as people write it: `250ms`, `10m`, `1h30m`.

use std::time::Duration;

use jiff::SignedDuration;

/// Reads one; negative ones and bare numbers are refused.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let usage = "use a number and a unit, as in 250ms, 30s, 10m or 1h30m";
    let span: SignedDuration = text.parse().map_err(|why| format!("{why}: {usage}"))?;
    Duration::try_from(span).map_err(|_| format!("it may not be negative: {usage}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::duration;

    #[test]
    fn spans_have_a_unit_and_no_sign() {
        let check = |text: &str, wanted: Option<u64>| {
            let read = duration(text).ok();
            assert_eq!(read, wanted.map(Duration::from_millis), "{text}");
        };
        check("250ms", Some(250));
        check("10m", Some(600_000));
        check("1h30m", Some(5_400_000));
        check("0s", Some(0));
        check("10", None);
        check("-1s", None);
        check("", None);
        check("soon", None);
    }
}
