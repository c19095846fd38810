//! The report of a container near its limit.

use std::time::Duration;

use serde_json::{Value, json};

use super::{AnnotationError, BadAnnotations, SignalOutcome, Warning};
use crate::act::{SendError, Signal, Signalled};
use crate::incident::{Container, Pod};
use pressure::{Crossing, Level, Sample};

const MIB: u64 = 1 << 20;

/// Container main of pod shop/hungry, at 60 of 64 MiB, 1 MiB/s.
pub(crate) fn near(level: Level) -> Warning {
    Warning {
        id: "6f1c0a52-5000-w77".to_owned(),
        time: "2026-11-21T09:00:00.5Z".parse().unwrap(),
        node: "node-a".to_owned(),
        cgroup: "/kubepods/poda38c12e8-255a-11e9-8cd9-0007cb0b2cc8/17db".to_owned(),
        container: Some(Container {
            id: "17db".to_owned(),
            name: Some("main".to_owned()),
            runtime: Some("containerd".to_owned()),
        }),
        pod: Some(Pod {
            namespace: Some("shop".to_owned()),
            name: Some("hungry".to_owned()),
            uid: Some(crate::k8s::fake::UID.to_owned()),
        }),
        crossing: Crossing {
            level,
            sample: Sample {
                at_ns: service::clock::monotonic_ns(),
                current: 60 * MIB,
                working_set: 58 * MIB,
                limit: Some(64 * MIB),
                throttles: false,
                psi: None,
            },
            forecast: Some(Duration::from_secs(4)),
            again: false,
        },
        threshold: "90 % (working set)".to_owned(),
        percent: 93.75,
        signal: Some(SignalOutcome {
            name: "SIGUSR2".to_owned(),
            sent: 1,
            pids: vec![4242],
            failed: None,
        }),
    }
}

/// The same pod, with an annotation that is not heeded.
pub(crate) fn bad_annotations() -> BadAnnotations {
    let warning = near(Level::Warning);
    BadAnnotations {
        id: "6f1c0a52-5000-annotations".to_owned(),
        time: warning.time,
        node: warning.node,
        pod: warning.pod.unwrap(),
        errors: vec![AnnotationError {
            name: "critical",
            reason: "an expression ends at character 19 of: memory_usage > 75 &".to_owned(),
        }],
    }
}

#[test]
fn the_line_has_all_fields() {
    let mut line = serde_json::to_value(near(Level::Critical)).unwrap();
    let text = line["text"].take();
    assert_eq!(
        line,
        json!({
            "version": 1, "warning": "critical", "id": "6f1c0a52-5000-w77",
            "time": "2026-11-21T09:00:00.500000000Z", "node": "node-a",
            "cgroup": "/kubepods/poda38c12e8-255a-11e9-8cd9-0007cb0b2cc8/17db",
            "container": {"id": "17db", "name": "main", "runtime": "containerd"},
            "pod": {"namespace": "shop", "name": "hungry", "uid": crate::k8s::fake::UID},
            "usage_bytes": 60 * MIB, "working_set_bytes": 58 * MIB, "limit_bytes": 64 * MIB,
            "limit_kind": "max",
            "pressure": null, "mark": "90 % (working set)", "percent": 93.8, "again": false, "seconds_to_limit": 4.0,
            "signal": {"name": "SIGUSR2", "sent": 1, "pids": [4242], "failed": null},
            "text": Value::Null,
        })
    );
    assert_eq!(
        text,
        "container main of pod shop/hungry is at 94 % of its memory limit of 64 MiB (critical); \
         at this pace it is there in 4.0 s; SIGUSR2 was sent to 1 process"
    );
}

#[test]
fn the_documented_fields_are_those_of_the_line() {
    let line = serde_json::to_value(near(Level::Warning)).unwrap();
    let mut fields: Vec<&str> = line
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let page = include_str!("../../../docs/warnings.md");
    let (_, table) = page.split_once("## The line").unwrap();
    let field = |line: &'static str| line.strip_prefix("| `")?.split('`').next();
    let mut documented: Vec<&str> = table.lines().filter_map(field).collect();
    fields.sort_unstable();
    documented.sort_unstable();
    assert_eq!(fields, documented);
}

#[test]
fn the_sentence_has_the_growth_and_what_a_signal_did_not_reach() {
    let mut warning = near(Level::Warning);
    warning.crossing.forecast = None;
    warning.crossing.again = true;
    let container = warning.container.as_mut().unwrap();
    container.name = None;
    container.id = "17db".repeat(16);
    warning.pod = None;
    warning.signal = Some(SignalOutcome {
        name: "SIGHUP".to_owned(),
        sent: 2,
        pids: vec![1, 2],
        failed: Some("CAP_KILL is needed".to_owned()),
    });
    assert_eq!(
        warning.sentence(),
        "container 17db17db17db is still at 94 % of its memory limit of 64 MiB (warning); \
         it does not grow now; SIGHUP was sent to 2 processes, not to others: CAP_KILL is needed"
    );
}

#[test]
fn a_pods_own_limit_and_one_that_throttles_are_named() {
    let mut warning = near(Level::Warning);
    (warning.container, warning.signal) = (None, None);
    let sentence = warning.sentence();
    assert!(
        sentence.starts_with("pod shop/hungry is at 94 % of its memory limit of 64 MiB (warning)"),
        "{sentence}"
    );
    warning.crossing.sample.throttles = true;
    warning.pod.as_mut().unwrap().name = None;
    let sentence = warning.sentence();
    let uid = crate::k8s::fake::UID;
    assert!(
        sentence.starts_with(&format!(
            "pod {uid} is at 94 % of its memory.high of 64 MiB"
        )),
        "{sentence}"
    );
    let line = serde_json::to_value(&warning).unwrap();
    assert_eq!(
        (&line["container"], &line["limit_kind"]),
        (&Value::Null, &json!("high"))
    );
}

#[test]
fn a_reminder_is_not_bonked() {
    let mut warning = near(Level::Warning);
    assert!(warning.is_bonked());
    warning.crossing.again = true;
    assert!(!warning.is_bonked());
}

#[test]
fn a_signals_outcome_has_why_it_did_not_reach_all() {
    let outcome = |sent: Vec<u32>, failed: Vec<(u32, SendError)>, cut: bool| {
        SignalOutcome::new(Signal::USR1, Ok(Signalled { sent, failed, cut }))
    };
    let many = outcome((1..=40).collect(), vec![], false);
    assert_eq!((many.sent, many.pids.len(), many.failed), (40, 16, None));
    let why = |signal: SignalOutcome| signal.failed.unwrap();
    assert!(why(outcome(vec![], vec![], false)).contains("none of its processes"));
    assert!(why(outcome(vec![1], vec![], true)).contains("too many"));
    assert!(
        why(outcome(vec![1], vec![(2, SendError::Another)], false)).contains("not the process")
    );
    let gone = SignalOutcome::new(Signal::USR1, Err(std::io::ErrorKind::NotFound.into()));
    assert!(why(gone).contains("cannot be listed"));
}
