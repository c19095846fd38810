use std::time::Duration;

use memcg::{OomScores, Percent};

use super::expression::Expression;
use super::*;
use crate::{Pressure, Sample};

const SECOND: u64 = 1_000_000_000;

fn variables(at_s: u64, current: u64, limit: Option<u64>) -> Variables {
    let sample = Sample {
        at_ns: at_s * SECOND,
        current,
        working_set: current,
        limit,
        throttles: false,
        psi: None,
    };
    Variables {
        sample,
        scores: OomScores::default(),
    }
}

fn thresholds(warning: &str, critical: &str) -> Thresholds {
    Thresholds {
        warning: Some(warning.parse().unwrap()),
        critical: Some(critical.parse().unwrap()),
        ..Thresholds::default()
    }
}

/// What each sample of a container with a limit of 100 makes: `w`, `c`, in capitals where it is new.
fn track(thresholds: &Thresholds, samples: &[(u64, u64)]) -> String {
    let mut tracker = LevelTracker::default();
    let letter = |(at, current): &(u64, u64)| {
        let crossing = tracker.update(thresholds, &variables(*at, *current, Some(100)), None);
        match crossing.map(|crossing| (crossing.level, crossing.again)) {
            None => '.',
            Some((Level::Warning, false)) => 'W',
            Some((Level::Warning, true)) => 'w',
            Some((Level::Critical, false)) => 'C',
            Some((Level::Critical, true)) => 'c',
        }
    };
    samples.iter().map(letter).collect()
}

#[test]
fn each_level_is_reported_at_its_threshold() {
    let samples = [(0, 74), (1, 75), (2, 89), (3, 90), (4, 99)];
    assert_eq!(track(&thresholds("75", "90%"), &samples), ".W.C.");
    // At once at the higher one.
    assert_eq!(track(&thresholds("75", "90"), &[(0, 50), (1, 95)]), ".C");
}

#[test]
fn a_level_that_lasts_is_reported_again_after_the_cooldown() {
    let samples = [(0, 80), (1, 80), (29, 80), (30, 80), (59, 80), (60, 80)];
    assert_eq!(track(&thresholds("75", "90"), &samples), "W..w.w");
    let hasty = Thresholds {
        cooldown: Duration::ZERO,
        ..thresholds("75", "90")
    };
    assert_eq!(track(&hasty, &samples), "Wwwwww");
}

#[test]
fn the_cooldown_holds_across_a_way_down_and_up() {
    let samples = [(0, 80), (10, 20), (11, 80), (29, 80), (30, 80)];
    // What has come up again was not reported yet: it is reported as new, later.
    assert_eq!(track(&thresholds("75", "90"), &samples), "W...W");
}

#[test]
fn a_saw_tooth_quicker_than_the_cooldown_is_reported_once_in_each() {
    // Up for 10 s, down for 10 s.
    let samples: Vec<(u64, u64)> = (0..10)
        .flat_map(|tooth| [(tooth * 20, 80), (tooth * 20 + 10, 20)])
        .collect();
    let expected = "W...W...W...W...W...";
    assert_eq!(track(&thresholds("75", "90"), &samples), expected);
}

#[test]
fn within_the_hysteresis_a_level_does_not_end() {
    let hasty = Thresholds {
        cooldown: Duration::ZERO,
        ..thresholds("75", "90")
    };
    // 70 is five points below; 69 is more.
    let around = [(0, 75), (1, 70), (2, 75), (3, 69), (4, 75)];
    assert_eq!(track(&hasty, &around), "W.w.W");
    // Nor is the warning reported anew where critical has nearly ended.
    assert_eq!(track(&hasty, &[(0, 91), (1, 86), (2, 90)]), "C.c");
    let none = Thresholds {
        hysteresis: 0.0,
        ..hasty
    };
    assert_eq!(track(&none, &around), "W.W.W");
}

#[test]
fn a_retried_crossing_comes_again_sooner_and_as_new() {
    let (mut tracker, thresholds) = (LevelTracker::default(), Thresholds::default());
    let update = |tracker: &mut LevelTracker, at: u64| {
        // As long as the machine is up, and no longer.
        tracker.update(&thresholds, &variables(100 + at, 80, Some(100)), None)
    };
    let crossing = update(&mut tracker, 0).unwrap();
    tracker.retry(&crossing, &Thresholds::default(), Duration::from_secs(1));
    assert_eq!(update(&mut tracker, 0), None);
    assert!(!update(&mut tracker, 1).unwrap().again);
    assert_eq!(update(&mut tracker, 30), None);
    assert!(update(&mut tracker, 31).unwrap().again);
}

#[test]
fn the_way_down_is_not_reported() {
    let samples = [(0, 95), (1, 80), (2, 80), (31, 80), (32, 95)];
    assert_eq!(track(&thresholds("75", "90"), &samples), "C..wC");
}

#[test]
fn an_expression_has_hysteresis_in_points_of_the_limit_too() {
    let hasty = Thresholds {
        cooldown: Duration::ZERO,
        ..thresholds("memory_current >= 75", "memory_usage > 90")
    };
    let around = [(0, 75), (1, 70), (2, 75), (3, 69), (4, 75)];
    assert_eq!(track(&hasty, &around), "W.w.W");
}

#[test]
fn without_a_limit_there_is_no_warning() {
    let mut tracker = LevelTracker::default();
    for thresholds in [
        thresholds("1", "2"),
        thresholds("memory_usage > 1", "memory_current > 1"),
        thresholds("memory_current > memory_max * 0.5", "memory_usage >= 2"),
        thresholds("oom_score >= 0", "memory_max < 1"),
    ] {
        let crossing = tracker.update(&thresholds, &variables(0, u64::MAX, None), None);
        assert_eq!(crossing, None);
    }
}

#[test]
fn a_crossing_has_the_sample_and_the_forecast() {
    let (mut tracker, seen) = (LevelTracker::default(), variables(7, 80, Some(100)));
    let forecast = Some(Duration::from_secs(12));
    let crossing = tracker
        .update(&Thresholds::default(), &seen, forecast)
        .unwrap();
    let expected = Crossing {
        level: Level::Warning,
        sample: seen.sample,
        forecast,
        again: false,
    };
    assert_eq!(
        (crossing, tracker.level()),
        (expected, Some(Level::Warning))
    );
}

fn stall(tenths: u32) -> memcg::Pressure {
    let of = |from: u32| memcg::Stalled {
        avg10: Percent(from * 100),
        avg60: Percent((from + 1) * 100),
        avg300: Percent((from + 2) * 100),
        total_us: u64::from(from + 3),
    };
    memcg::Pressure {
        some: of(tenths),
        full: of(tenths + 4),
    }
}

#[test]
fn every_name_of_the_third_oomhero_has_its_value() {
    let mut variables = variables(0, 150, Some(200));
    variables.scores = OomScores {
        oom_score: 667,
        oom_score_adj: -3,
    };
    variables.sample.psi = Some(Pressure {
        memory: stall(10),
        io: stall(20),
        cpu: stall(30),
    });
    let mut names = vec![
        ("memory_usage".to_owned(), 75),
        ("memory_current".to_owned(), 150),
        ("memory_max".to_owned(), 200),
        ("oom_score".to_owned(), 667),
        ("oom_score_adj".to_owned(), -3),
    ];
    for (resource, from) in [("memory", 10), ("io", 20), ("cpu", 30)] {
        for (severity, from) in [("some", from), ("full", from + 4)] {
            for (window, value) in (from..)
                .zip(["avg10", "avg60", "avg300", "total"])
                .map(|(v, w)| (w, v))
            {
                names.push((format!("{resource}_pressure_{severity}_{window}"), value));
            }
        }
    }
    for (name, value) in names {
        let is = |text: String| text.parse::<Expression>().unwrap().is_true(&variables);
        assert!(is(format!("{name} == {value}")), "{name} == {value}");
        assert!(!is(format!("{name} == {value} + 1")), "{name}");
    }
}

#[test]
fn operators_are_those_of_the_third_oomhero() {
    let variables = variables(0, 75, Some(100));
    for (text, holds) in [
        ("memory_usage > 74 && memory_usage < 76", true),
        ("memory_usage>=75&&memory_usage<=75", true),
        ("memory_usage > 80\n  ||\tmemory_usage > 70\r\n", true),
        ("memory_usage > 80 || memory_current == 75", true),
        ("!(memory_usage > 80)", true),
        ("!memory_usage", false),
        ("1 - 1", false),
        ("1 + 1 == 2", true),
        ("2 + 3 * 4 == 14", true),
        ("2 * 3 ^ 2 == 18", true),
        ("7 % 4 == 3", true),
        ("1 / 2 == 0.5", true),
        ("8 - 4 - 2 == 2", true),
        ("-1 + 2 == 1", true),
        ("memory_max * 3 / 4 <= memory_current", true),
        ("1 || 1 && 0", true),
        ("1 != 2 && 2 != 2", false),
        ("0 / 0", false),
        ("1 / 0", true),
        ("0.5", false),
    ] {
        let expression: Expression = text.parse().unwrap();
        assert_eq!(expression.is_true(&variables), holds, "{text}");
    }
}

#[test]
fn a_bad_expression_is_named_with_its_position() {
    for (text, at, expected) in [
        (">", 1, "expected a number, a name or `(`, found `>`"),
        ("", 1, "missing at the end"),
        ("memory_usage >", 15, "missing at the end"),
        ("memory_usage 75", 14, "expected `)` or one of"),
        ("memory_usge > 75", 1, "nothing is called `memory_usge`"),
        (
            "1 < oom_scor",
            5,
            "memory_pressure".trim_end_matches("_pressure"),
        ),
        ("(1 > 2", 1, "not closed"),
        ("1 > 2)", 6, "closes nothing"),
        ("1 > 2 & 3", 7, "found `&`"),
        ("1 = 1", 3, "found `=`"),
        ("1 > 1x", 5, "`1x` is no number"),
        ("1 > 1.2.3", 5, "is no number"),
        ("1 > ü", 5, "found `ü`"),
        ("max(1, 2)", 1, "nothing is called `max`"),
        ("1 > 2\u{b}", 6, "found `\\u{b}`"),
        ("1 <\n2 2", 7, "found `2`"),
        ("1 > 2 and 2 > 1", 7, "found `and`"),
        ("memory_current > 1G", 18, "`1G` is no number"),
        ("101", 1, "at most 100"),
        ("0%", 1, "above 0"),
        (&"(".repeat(20), 17, "more than 16 parentheses"),
        (&"1+".repeat(300), 513, "longer than 512"),
    ] {
        let error = text.parse::<Threshold>().unwrap_err();
        assert_eq!(error.at, at, "{text}: {error}");
        let whole = error.to_string();
        assert!(whole.contains(expected), "{whole}");
        assert!(
            whole.contains(&format!("at character {at} of: ")),
            "{whole}"
        );
    }
}

#[test]
fn a_number_is_a_percentage_of_the_limit() {
    for (text, percent) in [("75", 75.0), ("75%", 75.0), (" 90 % ", 90.0), ("0.5", 0.5)] {
        assert_eq!(text.parse(), Ok(Threshold::Percent(percent)), "{text}");
    }
    let words: Threshold = "75 > memory_usage".parse().unwrap();
    assert!(matches!(words, Threshold::Expression(_)), "{words}");
}

#[test]
fn scores_are_needed_where_they_are_named() {
    assert!(thresholds("75", "oom_score > 800").needs_scores());
    assert!(thresholds("1 > oom_score_adj", "90").needs_scores());
    assert!(!thresholds("memory_usage > 75", "90").needs_scores());
}

#[test]
fn page_cache_does_not_count_for_a_threshold_of_the_working_set() {
    let mut seen = variables(0, 95, Some(100));
    seen.sample.working_set = 60;
    let reached = |threshold: Threshold, margin| threshold.is_reached(&seen, margin);
    let working_set = |text| Threshold::parse_working_set(text).unwrap();
    assert!(reached("75".parse().unwrap(), 0.0));
    assert!(!reached(working_set("75"), 0.0));
    assert!(reached(working_set("60%"), 0.0));
    assert!(reached(working_set("64"), 4.0));
    assert!(!reached(working_set("65"), 4.0));
    let expression = working_set("memory_usage > 90 && memory_working_set_usage < 61");
    assert!(reached(expression.clone(), 0.0));
    assert!(expression.needs_working_set() && working_set("75").needs_working_set());
    assert!(!Threshold::Percent(75.0).needs_working_set());
    let percent =
        |threshold: Threshold| format!("{:.0} of {threshold}", threshold.measure(&seen.sample));
    assert_eq!(percent(working_set("75")), "60 of 75 % (working set)");
    assert_eq!(percent(Threshold::Percent(75.0)), "95 of 75 %");
}

#[test]
fn a_warning_that_never_comes_is_known() {
    let never = |warning: &str, critical: &str| thresholds(warning, critical).never_warns();
    assert!(never("75", "75") && never("80", "75%"));
    assert!(!never("75", "90"));
    assert!(!never("memory_usage > 80", "75"));
}
