//! Real processes in real cgroups, recorded with this kernel or that; each file has how.

use std::fmt::Write as _;

use super::FlightRecorder;
use crate::growth::tests::check_docs;
use crate::history::History;
use crate::sample::{CgroupKey, Sample};

const TRACES: [(&str, &str); 9] = [
    ("leak", include_str!("recorded/leak.txt")),
    ("steps", include_str!("recorded/steps.txt")),
    ("slow-leak", include_str!("recorded/slow-leak.txt")),
    ("java", include_str!("recorded/java.txt")),
    ("burst", include_str!("recorded/burst.txt")),
    ("short", include_str!("recorded/short.txt")),
    ("node", include_str!("recorded/node.txt")),
    ("page-cache", include_str!("recorded/page-cache.txt")),
    ("saw-tooth", include_str!("recorded/saw-tooth.txt")),
];

struct Trace {
    what: &'static str,
    pattern: &'static str,
    limit: u64,
    /// ms, usage, working set.
    rows: Vec<[u64; 3]>,
}

fn parse(text: &'static str) -> Trace {
    let mut lines = text.lines();
    let mut head = |start| lines.next().unwrap().strip_prefix(start).unwrap();
    let (what, pattern) = (head("# "), head("# verdict "));
    let limit = head("# limit ").parse().unwrap();
    let rows = lines.filter(|line| !line.starts_with('#')).map(|line| {
        let fields = line.split(' ').map(|field| field.parse().unwrap());
        fields.collect::<Vec<u64>>().try_into().unwrap()
    });
    Trace {
        what,
        pattern,
        limit,
        rows: rows.collect(),
    }
}

/// As an incident would have it.
fn replay(trace: &Trace) -> History {
    let (recorder, key) = (FlightRecorder::default(), CgroupKey::new("/recorded", 1));
    let ((kill, sampled), at) = (trace.rows.split_last().unwrap(), |ms: u64| {
        (1 + ms) * 1_000_000
    });
    for [ms, current, working_set] in sampled {
        let sample = Sample {
            at_ns: at(*ms),
            current: *current,
            working_set: *working_set,
            limit: Some(trace.limit),
            throttles: false,
            psi: None,
        };
        recorder.record(&[(key.clone(), sample)]);
    }
    let [ms, usage, _] = *kill;
    let history = recorder.history("/recorded", at(ms), Some(usage), Some(trace.limit));
    history.unwrap()
}

#[test]
fn real_traces_are_classified_right_and_the_docs_show_them() {
    let mut table = "| what it did | reported |\n|---|---|\n".to_owned();
    for (name, text) in TRACES {
        let trace = parse(text);
        let history = replay(&trace);
        assert_eq!(
            history.pattern.as_str(),
            trace.pattern,
            "{name}: {history:?}"
        );
        let (picture, words) = (history.sparkline(30), history.describe().unwrap());
        writeln!(table, "| {} | `{picture}` {words} |", trace.what).unwrap();
    }
    check_docs("<!-- recorded -->\n", &table);
}
