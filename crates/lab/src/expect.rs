//! A JSON value as it should be: exact, but for places with a range or a shape.
//!
//! An expectation is JSON itself, so that a virtual machine can make it and its
//! host compare.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

/// A number from `low` to `high`.
pub(crate) fn between(low: u64, high: u64) -> Value {
    json!({"$between": [low, high]})
}

/// A share of time: a number from 0 to 100.
pub(crate) fn percent() -> Value {
    json!({"$percent": []})
}

/// A time of RFC 3339, UTC, in nanoseconds; the bounds in ns since 1970.
pub(crate) fn time_between(low: u64, high: u64) -> Value {
    json!({"$time": [low, high]})
}

/// An incident's id: of that boot, stamped from `low` to `high` ns, of that process.
pub(crate) fn id_between(boot: &str, low: u64, high: u64, pid: u32) -> Value {
    json!({"$id": [boot, low, high, pid]})
}

/// Whatever it is.
pub(crate) fn anything() -> Value {
    json!({"$anything": []})
}

/// Any of these, each as it should be.
pub(crate) fn one_of(values: &[Value]) -> Value {
    json!({"$one_of": values})
}

/// A whole number, below zero too.
pub(crate) fn whole() -> Value {
    json!({"$whole": []})
}

/// What a flight recorder saw in the minute until a kill: ages in ms that fall to 0, and bytes, of
/// which the last are from `low` to `high` and none more than `high`. At least `count` of them.
pub(crate) fn samples(count: u64, low: u64, high: u64) -> Value {
    json!({"$samples": [count, low, high]})
}

/// The note of an Event as a person reads it who is woken by it: its first sentence, of 120 characters
/// at most, has each of `first`; each of `contains` is anywhere; its last ones begin with "Next: " and `next`;
/// all are `chars` characters at most; and volumes in memory are spoken of, or they are not.
pub(crate) fn note(
    first: &[&str],
    contains: &[&str],
    next: &str,
    volumes: bool,
    chars: usize,
) -> Value {
    json!({"$note": [first, contains, next, volumes, chars]})
}

/// Each place where a value is not as expected, in words.
pub fn differences(expected: &Value, actual: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", expected, actual, &mut found);
    found
}

fn compare(at: &str, expected: &Value, actual: &Value, found: &mut Vec<String>) {
    if let Some(fits) = matcher(expected, actual) {
        if !fits {
            found.push(format!("{at}: {actual}, expected {expected}"));
        }
        return;
    }
    match (expected, actual) {
        (Value::Object(wanted), Value::Object(present)) => {
            let keys: BTreeSet<&String> = wanted.keys().chain(present.keys()).collect();
            for key in keys {
                let at = format!("{at}/{key}");
                match (wanted.get(key), present.get(key)) {
                    (Some(wanted), Some(present)) => compare(&at, wanted, present, found),
                    (Some(_), None) => found.push(format!("{at}: missing")),
                    (None, present) => {
                        let present = present.unwrap_or(&Value::Null);
                        found.push(format!("{at}: {present}, expected no such field"));
                    }
                }
            }
        }
        (Value::Array(wanted), Value::Array(present)) if wanted.len() == present.len() => {
            for (n, (wanted, present)) in wanted.iter().zip(present).enumerate() {
                compare(&format!("{at}/{n}"), wanted, present, found);
            }
        }
        _ if expected == actual => {}
        _ => found.push(format!("{at}: {actual}, expected {expected}")),
    }
}

/// `None`: the expectation is a plain value.
fn matcher(expected: &Value, actual: &Value) -> Option<bool> {
    let (name, args) = expected.as_object()?.iter().next()?;
    let number = |n: usize| args.get(n).and_then(Value::as_u64);
    let within =
        |n: usize, value: u64| Some((number(n)?..=number(n.checked_add(1)?)?).contains(&value));
    let fits = match name.as_str() {
        "$between" => within(0, actual.as_u64()?),
        "$percent" => actual.as_f64().map(|share| (0.0..=100.0).contains(&share)),
        "$time" => actual
            .as_str()
            .filter(|text| text.len() == "2026-11-21T09:00:00.123456789Z".len())
            .filter(|text| text.ends_with('Z'))
            .and_then(|text| text.parse::<Timestamp>().ok())
            .and_then(|time| within(0, u64::try_from(time.as_nanosecond()).ok()?)),
        "$id" => actual.as_str().and_then(|text| {
            let (boot, rest) = text.split_once('-')?;
            let (stamp, pid) = rest.split_once('-')?;
            Some(
                boot == args.get(0)?.as_str()?
                    && within(1, stamp.parse().ok()?)?
                    && pid.parse() == Ok(number(3)?),
            )
        }),
        "$one_of" => args.as_array().map(|values| {
            let fits = |value: &Value| differences(value, actual).is_empty();
            values.iter().any(fits)
        }),
        "$anything" => Some(true),
        "$whole" => Some(actual.is_i64() || actual.is_u64()),
        "$note" => actual.as_str().and_then(|note| {
            let sentence = note.split(". ").next()?;
            let (_, next) = note.split_once("Next: ")?;
            let has = |n: usize, text: &str| {
                let mut parts = args.get(n)?.as_array()?.iter().map(Value::as_str);
                Some(parts.all(|part| part.is_some_and(|part| text.contains(part))))
            };
            let length = u64::try_from(note.chars().count()).ok()?;
            let short = length <= number(4)? && sentence.chars().count() < 120;
            let volumes = ["emptyDir", "volume"];
            Some(
                short
                    && has(0, sentence)?
                    && has(1, note)?
                    && next.starts_with(args.get(2)?.as_str()?)
                    && args.get(3)?.as_bool()? == volumes.iter().any(|word| note.contains(word)),
            )
        }),
        "$samples" => (|| {
            let seen = serde_json::from_value::<Vec<(u64, u64)>>(actual.clone()).ok()?;
            let (last_age, last) = *seen.last()?;
            let count = number(0)?..=60;
            let falls = seen.iter().rev().map(|(age, _)| age).is_sorted();
            let bounded = seen
                .iter()
                .all(|(age, bytes)| *age <= 60_000 && Some(*bytes) <= number(2));
            let whole = count.contains(&u64::try_from(seen.len()).ok()?) && falls && bounded;
            Some(whole && last_age == 0 && within(1, last)?)
        })(),
        _ => return None,
    };
    Some(fits.unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expected: &Value, actual: &Value, wanted: &[&str]) {
        assert_eq!(differences(expected, actual), wanted);
    }

    #[test]
    fn plain_values_are_exact() {
        check(&json!({"a": [1, null]}), &json!({"a": [1, null]}), &[]);
        check(
            &json!({"a": 1, "gone": 2, "b": [1]}),
            &json!({"a": "1", "new": null, "b": []}),
            &[
                "/a: \"1\", expected 1",
                "/b: [], expected [1]",
                "/gone: missing",
                "/new: null, expected no such field",
            ],
        );
    }

    #[test]
    fn ranges_include_their_ends() {
        check(&between(1, 3), &json!(1), &[]);
        check(&between(1, 3), &json!(3), &[]);
        for wrong in [json!(0), json!(4), json!(null), json!("2"), json!(-1)] {
            assert_eq!(differences(&between(1, 3), &wrong).len(), 1, "{wrong}");
        }
    }

    #[test]
    fn a_share_of_time_is_of_a_hundred() {
        for right in [json!(0.0), json!(0), json!(99.99), json!(100.0)] {
            check(&percent(), &right, &[]);
        }
        for wrong in [json!(-0.1), json!(100.1), json!(null), json!("1")] {
            assert_eq!(differences(&percent(), &wrong).len(), 1, "{wrong}");
        }
    }

    #[test]
    fn times_have_nine_digits_and_end_in_z() {
        let expected = time_between(1_000_000_000, 2_000_000_000);
        check(&expected, &json!("1970-01-01T00:00:01.500000000Z"), &[]);
        for wrong in [
            "1970-01-01T00:00:01.5Z",
            "1970-01-01T00:00:03.500000000Z",
            "1970-01-01T00:00:01.500000+00Z",
        ] {
            assert_eq!(differences(&expected, &json!(wrong)).len(), 1, "{wrong}");
        }
    }

    #[test]
    fn an_id_is_boot_stamp_and_pid() {
        let expected = id_between("6f1c0a52", 10, 20, 7);
        check(&expected, &json!("6f1c0a52-15-7"), &[]);
        for wrong in ["6f1c0a53-15-7", "6f1c0a52-21-7", "6f1c0a52-15-8", "x"] {
            assert_eq!(differences(&expected, &json!(wrong)).len(), 1, "{wrong}");
        }
    }

    #[test]
    fn any_of_some() {
        let expected = one_of(&[json!(null), between(0, 9)]);
        check(&expected, &json!(null), &[]);
        check(&expected, &json!(9), &[]);
        assert_eq!(differences(&expected, &json!(10)).len(), 1);
        check(&whole(), &json!(-4), &[]);
        assert_eq!(differences(&whole(), &json!(0.5)).len(), 1);
    }

    #[test]
    fn a_note_is_short_and_ends_with_what_to_do() {
        let expected = note(&["main", "48 MiB"], &["grew"], "raise", false, 400);
        let fits = |actual: &str| differences(&expected, &json!(actual)).is_empty();
        let good = "hog in main died at 48 MiB. It grew. Next: raise it.";
        assert!(fits(good));
        for (from, to) in [
            ("in main died", "died"),
            ("It grew", "It fell"),
            ("Next: ", ""),
            ("raise", "lower"),
            ("raise it", "raise it, or see emptyDir"),
            ("died", &"died ".repeat(25)),
            ("grew", &"grew ".repeat(80)),
        ] {
            assert!(!fits(&good.replacen(from, to, 1)), "{from} for {to}");
        }
    }

    #[test]
    fn samples_come_to_the_kill() {
        let expected = samples(2, 50, 60);
        let fits = |actual: Value| differences(&expected, &actual).is_empty();
        assert!(fits(json!([[900, 1], [0, 55]])));
        assert!(fits(json!([[60_000, 60], [2, 55], [2, 56], [0, 50]])));
        assert!(!fits(json!([[0, 55]])), "too few");
        assert!(!fits(json!([[900, 1], [1, 55]])), "not of the kill");
        assert!(!fits(json!([[1, 1], [2, 1], [0, 55]])), "not in order");
        assert!(!fits(json!([[900, 1], [0, 49]])), "too little at the kill");
        assert!(!fits(json!([[900, 61], [0, 55]])), "too much before");
        assert!(!fits(json!([[60_001, 1], [0, 55]])), "too long ago");
        assert!(!fits(json!([[900, "1"], [0, 55]])));
        assert!(!fits(json!(null)));
    }
}
