//! Real processes in real cgroups, recorded with this kernel or that; each file says how.

use std::fmt::Write as _;

use super::tests::in_the_docs;
use crate::{Before, Key, Recorder, Usage};

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
    verdict: &'static str,
    limit: u64,
    /// ms, usage, working set.
    rows: Vec<[u64; 3]>,
}

fn parse(text: &'static str) -> Trace {
    let mut lines = text.lines();
    let mut head = |start| lines.next().unwrap().strip_prefix(start).unwrap();
    let (what, verdict) = (head("# "), head("# verdict "));
    let limit = head("# limit ").parse().unwrap();
    let rows = lines.filter(|line| !line.starts_with('#')).map(|line| {
        let fields = line.split(' ').map(|field| field.parse().unwrap());
        fields.collect::<Vec<u64>>().try_into().unwrap()
    });
    Trace {
        what,
        verdict,
        limit,
        rows: rows.collect(),
    }
}

/// As the agent would have told it.
fn told(trace: &Trace) -> Before {
    let (recorder, key) = (Recorder::default(), Key::new("/recorded", 1));
    let ((kill, looks), at) = (trace.rows.split_last().unwrap(), |ms: u64| {
        (1 + ms) * 1_000_000
    });
    for [ms, current, working_set] in looks {
        let usage = Usage {
            at_ns: at(*ms),
            current: *current,
            working_set: *working_set,
            limit: Some(trace.limit),
            throttles: false,
            psi: None,
        };
        recorder.take(&[(key.clone(), usage)]);
    }
    let [ms, usage, _] = *kill;
    let before = recorder.before("/recorded", at(ms), Some(usage), Some(trace.limit));
    before.unwrap()
}

#[test]
fn real_traces_are_judged_right_and_the_docs_show_them() {
    let mut table = "| what it did | told |\n|---|---|\n".to_owned();
    for (name, text) in TRACES {
        let trace = parse(text);
        let before = told(&trace);
        assert_eq!(before.verdict.as_str(), trace.verdict, "{name}: {before:?}");
        let (picture, words) = (before.sparkline(30), before.words().unwrap());
        writeln!(table, "| {} | `{picture}` {words} |", trace.what).unwrap();
    }
    in_the_docs("<!-- recorded -->\n", &table);
}
