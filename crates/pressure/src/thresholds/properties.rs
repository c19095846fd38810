use memcg::OomScores;
use proptest::prelude::*;

use super::error::ExpressionErrorKind;
use super::expression::Expression;
use super::*;
use crate::Sample;

/// Sound expressions, written as tokens.
fn expression() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("memory_usage".to_owned()),
        Just("oom_score_adj".to_owned()),
        (0_u32..200).prop_map(|number| number.to_string()),
    ];
    value.prop_recursive(4, 32, 2, |inner| {
        let operator = proptest::sample::select(vec![
            "&&", "||", ">", ">=", "<", "<=", "==", "!=", "+", "-", "*", "/", "%", "^",
        ]);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            inner.clone().prop_map(|a| format!("({a})")),
            inner.clone().prop_map(|a| format!("!{a}")),
            inner.prop_map(|a| format!("-{a}")),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_is_an_expression_or_is_named_with_a_position_in_it(text in ".{0,80}") {
        if let Err(error) = text.parse::<Threshold>() {
            prop_assert!((1..=text.chars().count() + 1).contains(&error.at), "{}", error);
            prop_assert!(!error.to_string().contains('\n'));
        }
    }

    #[test]
    fn any_words_of_the_language_are_read_without_a_panic(
        words in proptest::collection::vec(proptest::sample::select(vec![
            "memory_usage", "1", "2.5", "(", ")", "!", "-", "&&", "||", ">", "==", "^", "%", ",", "{", "}", " ",
        ]), 0..24),
    ) {
        let _either = words.concat().parse::<Threshold>();
    }

    #[test]
    fn what_is_sound_compiles_and_evaluates(text in expression(), current in 0_u64..200) {
        prop_assume!(text.len() <= 512);
        let parsed = text.parse::<Expression>();
        // Only its size may be held against it.
        prop_assert!(
            parsed.is_ok() || matches!(parsed, Err(ExpressionError { kind: ExpressionErrorKind::TooDeep(_), .. })),
            "{parsed:?}"
        );
        if let Ok(expression) = parsed {
            let sample = Sample { at_ns: 0, current, working_set: 0, limit: Some(100), throttles: false, psi: None };
            expression.is_true(&Variables { sample, scores: OomScores::default() });
        }
    }

    #[test]
    fn a_level_is_never_reported_twice_within_the_cooldown(
        samples in proptest::collection::vec((1_u64..20, 0_u64..100), 1..60),
    ) {
        let (thresholds, mut tracker, mut now) = (Thresholds::default(), LevelTracker::default(), 0);
        let mut reported: Vec<(Level, u64)> = Vec::new();
        for (seconds, current) in samples {
            now += seconds * 1_000_000_000;
            let sample = Sample { at_ns: now, current, working_set: 0, limit: Some(100), throttles: false, psi: None };
            let variables = Variables { sample, scores: OomScores::default() };
            if let Some(crossing) = tracker.update(&thresholds, &variables, None) {
                let threshold = if crossing.level == Level::Critical { 90 } else { 75 };
                prop_assert!(current >= threshold);
                reported.push((crossing.level, now));
            }
        }
        for level in Level::ALL {
            let times: Vec<u64> = reported.iter().filter(|(l, _)| *l == level).map(|(_, at)| *at).collect();
            prop_assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 30_000_000_000));
        }
    }

    #[test]
    fn a_level_is_reported_within_the_cooldown(
        samples in proptest::collection::vec((1_u64..20, 0_u64..90), 1..60),
    ) {
        let (thresholds, mut tracker, mut now) = (Thresholds::default(), LevelTracker::default(), 0);
        let mut reported: Option<u64> = None;
        for (seconds, current) in samples {
            now += seconds;
            let at_ns = now * 1_000_000_000;
            let sample = Sample { at_ns, current, working_set: 0, limit: Some(100), throttles: false, psi: None };
            let variables = Variables { sample, scores: OomScores::default() };
            if tracker.update(&thresholds, &variables, None).is_some() {
                reported = Some(now);
            } else if current >= 75 {
                prop_assert!(reported.is_some_and(|at| now - at < 30), "at {now}, reported at {reported:?}");
            }
        }
    }
}
