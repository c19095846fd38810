use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::traces::{Kind, LIMIT, kinds};
use super::*;

const PATTERNS: [GrowthPattern; 4] = [
    GrowthPattern::Leak,
    GrowthPattern::Burst,
    GrowthPattern::AtTheLimit,
    GrowthPattern::Unknown,
];

/// Traces of each kind in the table.
const TRACES: usize = 500;

/// Per thousand of each kind that must be right.
const RIGHT: usize = 950;

/// Always the same ones.
fn traces(kind: &Kind) -> Vec<Vec<Point>> {
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
        let found: Vec<GrowthPattern> = traces
            .iter()
            .map(|trace| classify_growth(trace, Some(LIMIT)).pattern)
            .collect();
        let count = |pattern| found.iter().filter(|one| **one == pattern).count();
        let right = count(kind.pattern);
        let wrong = found.iter().position(|one| *one != kind.pattern);
        assert!(
            right * 1000 >= TRACES * RIGHT,
            "{}: {right} of {TRACES} are right; the first that is not: {:?} {:?}",
            kind.name,
            wrong.map(|n| found[n]),
            wrong.map(|n| traces[n]
                .iter()
                .map(|s| (s.at_ms, s.bytes * 1000 / LIMIT))
                .collect::<Vec<_>>()),
        );
        let cells = PATTERNS
            .map(|pattern| count(pattern).to_string())
            .join(" | ");
        let name = kind.pattern.as_str();
        writeln!(table, "| {} | {name} | {cells} |", kind.name).unwrap();
    }
    table
}

#[test]
fn the_confusion_table_in_the_docs_is_true() {
    check_docs("<!-- confusion -->\n", &table());
}

/// What is between two such marks. With `BLESS` in the environment it is written.
pub(crate) fn check_docs(mark: &str, table: &str) {
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

fn minute(level: impl Fn(u64) -> u64) -> Vec<Point> {
    let point = |s| Point {
        at_ms: s * 1000,
        bytes: level(s),
    };
    (0..=60).map(point).collect()
}

#[test]
fn an_even_leak_has_its_slope_and_its_time_from_half() {
    let growth = classify_growth(&minute(|s| 40 + s), Some(100));
    let half_to_limit = Some(Duration::from_secs(50));
    let expected = Growth {
        pattern: GrowthPattern::Leak,
        slope: Some(1),
        half_to_limit,
    };
    assert_eq!(growth, expected);
}

#[test]
fn a_bursts_slope_is_that_of_the_burst() {
    let growth = classify_growth(
        &minute(|s| if s < 58 { 100 } else { 100 + (s - 58) * 450 }),
        Some(1000),
    );
    assert_eq!(growth.pattern, GrowthPattern::Burst);
    assert_eq!(growth.slope, Some(450));
    assert_eq!(growth.half_to_limit, Some(Duration::from_millis(1_112)));
}

#[test]
fn nothing_and_next_to_nothing_are_unknown() {
    for points in [vec![], minute(|_| 1000).split_off(60)] {
        let growth = classify_growth(&points, Some(1000));
        assert_eq!(
            (growth.pattern, growth.slope),
            (GrowthPattern::Unknown, None),
            "{points:?}"
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
fn near_the_limit_a_forecast_comes_sooner() {
    let of = |points: u64| -> Vec<Point> {
        let point = |n| Point {
            at_ms: n * 500,
            bytes: 7_000 + n * 100,
        };
        (0..points).map(point).collect()
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

fn any_points() -> impl Strategy<Value = Vec<Point>> {
    let one = (0_u64..70_000, prop_oneof![0..=u64::MAX, 0..2 * LIMIT]);
    prop::collection::vec(one, 0..70).prop_map(|mut all| {
        all.sort_by_key(|(at_ms, _)| *at_ms);
        let point = |(at_ms, bytes)| Point { at_ms, bytes };
        all.into_iter().map(point).collect()
    })
}

proptest! {
    /// No points, however wild, make it fail, and the result fits them.
    #[test]
    fn anything_can_be_classified(points in any_points(), limit in prop::option::of(0..=u64::MAX)) {
        let growth = classify_growth(&points, limit);
        let span = points.last().zip(points.first()).map_or(0, |(b, a)| b.at_ms - a.at_ms);
        prop_assert!(growth.half_to_limit.is_none_or(|time| time.as_millis() <= u128::from(span)));
        let forecast = forecast(&points, limit.unwrap_or_default());
        prop_assert!(forecast.is_none_or(|left| left <= FARTHEST));
    }

    /// A larger machine at another time has the same patterns.
    #[test]
    fn scale_and_date_do_not_matter(points in any_points(), later in 0_u64..1 << 40) {
        let small: Vec<Point> = points.iter().map(|point| Point { bytes: point.bytes % LIMIT, ..*point }).collect();
        let large: Vec<Point> = small.iter().map(|point| Point { at_ms: point.at_ms + later, bytes: point.bytes * 1000 }).collect();
        let (small, large) = (classify_growth(&small, Some(LIMIT)), classify_growth(&large, Some(LIMIT * 1000)));
        prop_assert_eq!(small.pattern, large.pattern);
    }
}
