//! What the guests of virtual machines write, and how that should be.

use std::fmt::Write as _;

use lab::{Serial, differences};
use serde_json::{Value, json};

/// The serial line of a guest, or why there is none.
pub(crate) type Boot = Result<Serial, String>;

/// How many lines of a guest that came to no end are shown: a whole report of a panic.
const SHOWN: usize = 80;

pub(crate) fn serial_of(boot: &Boot) -> &Serial {
    match boot {
        Ok(serial) => serial,
        Err(error) => panic!("{error}"),
    }
}

/// What the guest wrote under that key.
pub(crate) fn record<'a>(serial: &'a Serial, key: &str) -> Option<&'a Value> {
    serial.records.iter().find_map(|record| record.get(key))
}

pub(crate) fn log(serial: &Serial) -> String {
    let lines = record(serial, "end").and_then(|end| end.get("log")?.as_array());
    if let Some(lines) = lines {
        return lines.iter().fold(String::new(), |mut text, line| {
            let _ = write!(text, "\n  | {line}");
            text
        });
    }
    let error = record(serial, "error").and_then(Value::as_str);
    // A verifier's last lines show what it refuses.
    let lines: Vec<&str> = error.unwrap_or(&serial.text).lines().collect();
    let last = lines.len().saturating_sub(SHOWN);
    let shown = lines.iter().skip(last).copied();
    shown.fold("\nthe guest's last lines:".to_owned(), |text, line| {
        text + "\n  " + line
    })
}

/// What the agent reported in a case is what it should have reported.
pub(crate) fn check(serial: &Serial, case: &str) {
    let outcome = serial
        .records
        .iter()
        .find(|record| record.get("case") == Some(&json!(case)))
        .and_then(|record| record.get("outcome"));
    let part = |name: &str| outcome.and_then(|outcome| outcome.get(name));
    let (Some(expected), Some(reported)) = (part("expected"), part("reported")) else {
        panic!(
            "{case} did not come to its end: {}{}",
            outcome.unwrap_or(&Value::Null),
            log(serial)
        );
    };
    let wrong = differences(expected, reported);
    assert!(
        wrong.is_empty(),
        "{}\nin {reported:#}{}",
        wrong.join("\n"),
        log(serial)
    );
}

/// Nothing was reported twice or of others, and nothing went wrong: not in the kernel either.
pub(crate) fn check_end(serial: &Serial, release: &str) {
    let kernel = record(serial, "kernel").and_then(Value::as_str);
    assert!(
        kernel.is_some_and(|kernel| kernel.starts_with(release)),
        "{kernel:?}"
    );
    let error = record(serial, "error").is_some();
    assert!(!error, "{}", log(serial));
    // Its bits are in the kernel's Documentation/admin-guide/tainted-kernels.rst: a warning is one.
    let tainted = record(serial, "tainted");
    assert_eq!(tainted, Some(&json!("0")), "{}", log(serial));
    let end = record(serial, "end").unwrap_or_else(|| panic!("no end:{}", log(serial)));
    assert_eq!(end.get("stray"), Some(&json!([])), "{}", log(serial));
}

/// The agent's own counts, which are these; and it lost nothing.
pub(crate) fn check_summary<'a>(serial: &'a Serial, counts: &[(&str, usize)]) -> &'a Value {
    let lines = record(serial, "end").and_then(|end| end.get("log")?.as_array());
    let summary = lines
        .into_iter()
        .flatten()
        .find(|line| line.get("message") == Some(&json!("summary")));
    let summary = summary.unwrap_or_else(|| panic!("no summary:{}", log(serial)));
    let none =
        ["drift", "lost", "ring_full", "marks_full", "malformed"].map(|counter| (counter, 0));
    for (counter, expected) in none.iter().chain(counts) {
        assert_eq!(
            summary.get(counter),
            Some(&json!(expected)),
            "{counter} in {summary}"
        );
    }
    summary
}
