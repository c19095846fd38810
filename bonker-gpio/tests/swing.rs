//! Whatever the limits and the gesture, the pulses stay within and end at rest.

use std::time::Duration;

use bonker_gpio::{Calibration, FRAME_US, Gesture, Limits, LimitsError, MAX_HOLD, Tempo, steps};
use proptest::prelude::*;

fn gestures() -> impl Strategy<Value = Gesture> {
    prop_oneof![Just(Gesture::Rest), Just(Gesture::Bonk)]
}

fn calibrations() -> impl Strategy<Value = Calibration> {
    (1..FRAME_US - 1)
        .prop_flat_map(|min| (Just(min), min + 1..FRAME_US))
        .prop_flat_map(|(min, max)| (Just(min), Just(max), min..=max, min..=max))
        .prop_map(|(min_us, max_us, rest_us, strike_us)| Calibration {
            min_us,
            max_us,
            rest_us,
            strike_us,
        })
}

proptest! {
    /// Invariant: no pulse outside the limits, no hold over the bound, rest at the end.
    #[test]
    fn every_gesture_stays_within_its_limits_and_ends_at_rest(
        calibration in calibrations(),
        gesture in gestures(),
        (strike_ms, rest_ms) in (0..u64::MAX, 0..u64::MAX),
    ) {
        let limits = Limits::try_from(calibration).unwrap();
        let tempo = Tempo {
            strike: Duration::from_millis(strike_ms),
            rest: Duration::from_millis(rest_ms),
        };
        let steps = steps(gesture, limits, tempo);
        for step in &steps {
            prop_assert!((calibration.min_us..=calibration.max_us).contains(&step.pulse_us));
            prop_assert!(step.hold <= MAX_HOLD);
        }
        prop_assert_eq!(steps.last().map(|step| step.pulse_us), Some(calibration.rest_us));
        if gesture == Gesture::Bonk {
            prop_assert_eq!(steps[0].pulse_us, calibration.strike_us);
        }
    }

    /// Invariant: limits exist exactly for calibrations that a servo can follow.
    #[test]
    fn limits_hold_or_are_refused(
        (min_us, max_us) in (0..25_000_u16, 0..25_000_u16),
        (rest_us, strike_us) in (0..25_000_u16, 0..25_000_u16),
    ) {
        let calibration = Calibration { min_us, max_us, rest_us, strike_us };
        let range = min_us..=max_us;
        let sound = 0 < min_us && min_us < max_us && max_us < FRAME_US
            && range.contains(&rest_us) && range.contains(&strike_us);
        prop_assert_eq!(Limits::try_from(calibration).is_ok(), sound);
    }
}

#[test]
fn a_refusal_says_what_is_wrong() {
    let check = |min_us, max_us, rest_us, strike_us, expect: LimitsError| {
        let calibration = Calibration {
            min_us,
            max_us,
            rest_us,
            strike_us,
        };
        assert_eq!(Limits::try_from(calibration), Err(expect));
    };
    check(0, 2000, 1000, 2000, LimitsError::Zero);
    let empty = LimitsError::Empty {
        min_us: 2000,
        max_us: 2000,
    };
    check(2000, 2000, 2000, 2000, empty);
    let frame = LimitsError::Frame { max_us: FRAME_US };
    check(1000, FRAME_US, 1000, 2000, frame);
    let outside = |what, pulse_us| LimitsError::Outside {
        what,
        pulse_us,
        min_us: 1000,
        max_us: 2000,
    };
    check(1000, 2000, 999, 2000, outside("rest", 999));
    check(1000, 2000, 1000, 2001, outside("strike", 2001));
}
