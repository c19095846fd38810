use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::traces::{Kind, LIMIT, kinds};
use super::*;

const VERDICTS: [Growth; 4] = [
    Growth::Leak,
    Growth::Burst,
    Growth::AtTheLimit,
    Growth::Unknown,
];

/// Traces of each kind in the table.
const TRACES: usize = 500;

/// Per thousand of each kind that must be right.
const RIGHT: usize = 950;

/// Always the same ones.
fn traces(kind: &Kind) -> Vec<Vec<Sample>> {
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    (0..TRACES)
        .map(|_| kind.trace.new_tree(&mut runner).unwrap().current())
        .collect()
}

fn table() -> String {
    let mut table = "| what it does | right | leak | burst | at the limit | unknown |\n|---|---|--:|--:|--:|--:|\n".to_owned();
    for kind in kinds() {
        let traces = traces(&kind);
        let judged: Vec<Growth> = traces
            .iter()
            .map(|trace| judge(trace, Some(LIMIT)).growth)
            .collect();
        let told = |verdict| judged.iter().filter(|growth| **growth == verdict).count();
        let right = told(kind.truth);
        let wrong = judged.iter().position(|growth| *growth != kind.truth);
        assert!(
            right * 1000 >= TRACES * RIGHT,
            "{}: {right} of {TRACES} are right; the first that is not: {:?} {:?}",
            kind.name,
            wrong.map(|n| judged[n]),
            wrong.map(|n| traces[n]
                .iter()
                .map(|s| (s.at_ms, s.bytes * 1000 / LIMIT))
                .collect::<Vec<_>>()),
        );
        let cells = VERDICTS
            .map(|verdict| told(verdict).to_string())
            .join(" | ");
        let name = kind.truth.as_str();
        writeln!(table, "| {} | {name} | {cells} |", kind.name).unwrap();
    }
    table
}

#[test]
fn the_confusion_table_in_the_docs_is_true() {
    in_the_docs("<!-- confusion -->\n", &table());
}

/// What is between two such marks. With `BLESS` in the environment it is written.
pub(super) fn in_the_docs(mark: &str, table: &str) {
    // Two tests may write.
    static PAGE: Mutex<()> = Mutex::new(());
    let _mine = PAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/pressure.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = page.split_once(mark).unwrap();
    let (found, tail) = rest.split_once(mark).unwrap();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, format!("{head}{mark}{table}{mark}{tail}")).unwrap();
        return;
    }
    assert_eq!(found, table, "BLESS=1 writes it anew");
}

fn minute(level: impl Fn(u64) -> u64) -> Vec<Sample> {
    let sample = |s| Sample {
        at_ms: s * 1000,
        bytes: level(s),
    };
    (0..=60).map(sample).collect()
}

#[test]
fn an_even_leak_has_its_slope_and_its_time_from_half() {
    let judged = judge(&minute(|s| 40 + s), Some(100));
    let half_to_limit = Some(Duration::from_secs(50));
    let expected = Judgement {
        growth: Growth::Leak,
        slope: Some(1),
        half_to_limit,
    };
    assert_eq!(judged, expected);
}

#[test]
fn a_bursts_slope_is_that_of_the_burst() {
    let judged = judge(
        &minute(|s| if s < 58 { 100 } else { 100 + (s - 58) * 450 }),
        Some(1000),
    );
    assert_eq!(judged.growth, Growth::Burst);
    assert_eq!(judged.slope, Some(450));
    assert_eq!(judged.half_to_limit, Some(Duration::from_millis(1_112)));
}

#[test]
fn nothing_and_next_to_nothing_are_unknown() {
    for samples in [vec![], minute(|_| 1000).split_off(60)] {
        let judged = judge(&samples, Some(1000));
        assert_eq!(
            (judged.growth, judged.slope),
            (Growth::Unknown, None),
            "{samples:?}"
        );
    }
}

#[test]
fn what_grows_has_a_forecast_and_nothing_else_has() {
    let check = |level: &dyn Fn(u64) -> u64, seconds: Option<u64>| {
        let found = forecast(&minute(level), 10_000);
        assert_eq!(found, seconds.map(Duration::from_secs));
    };
    check(&|s| s * 100, Some(40));
    check(&|_| 5_000, None);
    check(&|s| 9_000 - s * 100, None);
    // A saw-tooth that gives everything back, and one that keeps some.
    check(&|s| 2_000 + s % 10 * 500, None);
    check(&|s| s * 100 + s % 10 * 100, Some(40));
    // Idle until a moment ago.
    check(&|s| s.saturating_sub(40) * 100, Some(80));
    // Over the limit already, as swap allows.
    check(&|s| 9_990 + s, None);
    // In a century.
    check(&|s| 1_000_000_000_000_000 + s, None);
}

#[test]
fn who_has_just_come_near_its_limit_has_a_forecast_sooner() {
    let of = |samples: u64| -> Vec<Sample> {
        let sample = |n| Sample {
            at_ms: n * 500,
            bytes: 7_000 + n * 100,
        };
        (0..samples).map(sample).collect()
    };
    let seconds = |n| Some(Duration::from_secs(n));
    assert_eq!(forecast_near(&of(2), 10_000), None);
    assert_eq!(
        forecast_near(&of(6), 10_000),
        Some(Duration::from_millis(12_500))
    );
    assert_eq!(forecast(&of(6), 10_000), None);
    assert_eq!(forecast_near(&of(21), 10_000), seconds(5));
}

fn any_samples() -> impl Strategy<Value = Vec<Sample>> {
    let one = (0_u64..70_000, prop_oneof![0..=u64::MAX, 0..2 * LIMIT]);
    prop::collection::vec(one, 0..70).prop_map(|mut all| {
        all.sort_by_key(|(at_ms, _)| *at_ms);
        let sample = |(at_ms, bytes)| Sample { at_ms, bytes };
        all.into_iter().map(sample).collect()
    })
}

proptest! {
    /// No samples, however wild, make it fail, and what it tells fits them.
    #[test]
    fn anything_can_be_judged(samples in any_samples(), limit in prop::option::of(0..=u64::MAX)) {
        let judged = judge(&samples, limit);
        let span = samples.last().zip(samples.first()).map_or(0, |(b, a)| b.at_ms - a.at_ms);
        prop_assert!(judged.half_to_limit.is_none_or(|time| time.as_millis() <= u128::from(span)));
        let forecast = forecast(&samples, limit.unwrap_or_default());
        prop_assert!(forecast.is_none_or(|left| left <= FARTHEST));
    }

    /// A larger machine at another time has the same verdicts.
    #[test]
    fn scale_and_date_do_not_matter(samples in any_samples(), later in 0_u64..1 << 40) {
        let small: Vec<Sample> = samples.iter().map(|sample| Sample { bytes: sample.bytes % LIMIT, ..*sample }).collect();
        let large: Vec<Sample> = small.iter().map(|sample| Sample { at_ms: sample.at_ms + later, bytes: sample.bytes * 1000 }).collect();
        let (small, large) = (judge(&small, Some(LIMIT)), judge(&large, Some(LIMIT * 1000)));
        prop_assert_eq!(small.growth, large.growth);
    }
}
