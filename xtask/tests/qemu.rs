//! Other kernels than this machine's, with cgroup v2, each in a virtual machine:
//! every case's incident is what it should be, field by field.
//!
//! What a case does and expects is in `xtask::guest`, which runs in there.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test, in helpers too"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError};

use serde_json::{Value, json};
use xtask::expect::differences;
use xtask::guest::{INCIDENTS, LARGE_GROUP, NAMES};
use xtask::lab::{Cache, Consent, Debian, Kernels, Machine, Serial, initrd};

/// The group kills have this many victims more than the others have.
const OTHERS_OF_THE_GROUPS: usize = 3 + LARGE_GROUP - 1;

/// The victim of one case is on its way out already.
const EXITING: usize = 1;

/// How many lines of a guest that came to no end are shown: a whole report of a panic.
const SHOWN: usize = 80;

/// What is booted.
struct Bench {
    kernels: Kernels,
    initrd: PathBuf,
    /// Where the initrd lies.
    _dir: tempfile::TempDir,
}

static BENCH: LazyLock<Bench> = LazyLock::new(|| {
    let debian = Debian::new(Consent::Ask).unwrap();
    let kernels = Kernels::prepare(&Cache::open().unwrap(), debian).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("initrd");
    let (xtask, agent) = (binary("XTASK_STATIC_BIN"), binary("OOM_AGENT_STATIC_BIN"));
    initrd(&xtask, &agent, &root).unwrap();
    Bench {
        kernels,
        initrd: root,
        _dir: dir,
    }
});

/// What a suite's kernel said, or why it said nothing.
type Boot = Result<Serial, String>;

/// By suite. Each is booted when it is first asked for, one after the other: each keeps both CPUs
/// busy, and a victim that waits for one is read late.
static BOOTS: Mutex<BTreeMap<&str, &'static Boot>> = Mutex::new(BTreeMap::new());

fn binary(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable).unwrap_or_else(|| {
        panic!("{variable} is not set: run `cargo xtask test`, not the tier by itself")
    });
    path.into()
}

fn serial(suite: &'static str) -> &'static Serial {
    // A boot does not panic; what a failed preparation left is still a map.
    let mut boots = BOOTS.lock().unwrap_or_else(PoisonError::into_inner);
    let boot = boots.entry(suite).or_insert_with(|| {
        let machine = Machine {
            kernel: BENCH.kernels.of(suite),
            initrd: BENCH.initrd.clone(),
        };
        let serial = machine.run().map_err(|error| format!("{error:#}"));
        Box::leak(Box::new(serial))
    });
    match boot {
        Ok(serial) => serial,
        Err(error) => panic!("{error}"),
    }
}

/// What the guest said under that key.
fn said<'a>(serial: &'a Serial, key: &str) -> Option<&'a Value> {
    serial.said.iter().find_map(|said| said.get(key))
}

fn log(serial: &Serial) -> String {
    let lines = said(serial, "end").and_then(|end| end.get("log")?.as_array());
    if let Some(lines) = lines {
        return lines.iter().fold(String::new(), |mut text, line| {
            let _ = write!(text, "\n  | {line}");
            text
        });
    }
    let error = said(serial, "error").and_then(Value::as_str);
    // A verifier's last lines say what it refuses.
    let lines: Vec<&str> = error.unwrap_or(&serial.text).lines().collect();
    let last = lines.len().saturating_sub(SHOWN);
    let shown = lines.iter().skip(last).copied();
    shown.fold("\nthe guest's last lines:".to_owned(), |text, line| {
        text + "\n  " + line
    })
}

fn check(suite: &'static str, case: &str) {
    let serial = serial(suite);
    let outcome = serial
        .said
        .iter()
        .find(|said| said.get("case") == Some(&json!(case)))
        .and_then(|said| said.get("outcome"));
    let part = |name: &str| outcome.and_then(|outcome| outcome.get(name));
    let (Some(expected), Some(told)) = (part("expected"), part("told")) else {
        panic!(
            "{case} did not come to its end: {}{}",
            outcome.unwrap_or(&Value::Null),
            log(serial)
        );
    };
    let wrong = differences(expected, told);
    assert!(
        wrong.is_empty(),
        "{}\nin {told:#}{}",
        wrong.join("\n"),
        log(serial)
    );
}

/// Nothing was told twice or of others, nothing was lost, nothing went wrong: not in the kernel
/// either.
fn check_end(suite: &'static str, release: &str) {
    let serial = serial(suite);
    let kernel = said(serial, "kernel").and_then(Value::as_str);
    assert!(
        kernel.is_some_and(|kernel| kernel.starts_with(release)),
        "{kernel:?}"
    );
    let error = said(serial, "error").is_some();
    assert!(!error, "{}", log(serial));
    // Its bits are in the kernel's Documentation/admin-guide/tainted-kernels.rst: a warning is one.
    let tainted = said(serial, "tainted");
    assert_eq!(tainted, Some(&json!("0")), "{}", log(serial));
    let end = said(serial, "end").unwrap_or_else(|| panic!("no end:{}", log(serial)));
    assert_eq!(end.get("stray"), Some(&json!([])), "{}", log(serial));
    let summary = end
        .get("log")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .find(|line| line.get("message") == Some(&json!("summary")));
    let summary = summary.unwrap_or_else(|| panic!("no summary:{}", log(serial)));
    let count = |counter: &str| summary.get(counter).and_then(Value::as_u64);
    // Of a large group not all are read.
    let seen = count("autopsied").zip(count("counted"));
    let seen = seen.map(|(autopsied, counted)| autopsied + counted);
    let victims = INCIDENTS + OTHERS_OF_THE_GROUPS - EXITING;
    assert_eq!(seen, Some(victims as u64), "{summary}");
    for (counter, expected) in [
        ("incidents", INCIDENTS),
        ("already_exiting", EXITING),
        ("drift", 0),
        ("lost", 0),
        ("ring_full", 0),
        ("marks_full", 0),
        ("malformed", 0),
    ] {
        assert_eq!(
            summary.get(counter),
            Some(&json!(expected)),
            "{counter} in {summary}"
        );
    }
}

macro_rules! kernel {
    ($module:ident, $suite:literal, $release:literal, [$($case:ident),+ $(,)?]) => {
        mod $module {
            $(
                #[test]
                fn $case() {
                    super::check($suite, stringify!($case));
                }
            )+

            #[test]
            fn z_nothing_else_is_told() {
                assert_eq!([$(stringify!($case)),+], super::NAMES);
                super::check_end($suite, $release);
            }
        }
    };
}

macro_rules! every_case_on {
    ($($module:ident: $suite:literal $release:literal),+ $(,)?) => {
        $(
            kernel!($module, $suite, $release, [
                single_kill,
                host_process,
                child_kill,
                group_kill,
                nested_group,
                large_group,
                nested_first_process,
                thread_kill,
                leaderless_kill,
                leaderless_bystander,
                already_exiting,
                pod_limit,
                ancestor_limit,
                counted_limit,
                node_wide,
                sysrq,
                sidecar,
                warned,
                verdicts,
                sampled,
                storm,
            ]);
        )+
    };
}

every_case_on! {
    linux_5_10: "bullseye" "5.10.",
    linux_6_1: "bookworm" "6.1.",
    linux_6_12: "trixie" "6.12.",
    linux_7: "sid" "7.",
}
