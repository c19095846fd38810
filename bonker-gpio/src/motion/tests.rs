use std::time::{Duration, Instant};

use strum::VariantArray as _;

use super::{
    Calibration, Choreography, DutyError, End, Gesture, Limits, Motion, Move, Percent, Style, Tempo,
};
use crate::bonk::Severity;

fn plan(rest_us: u16, strike_us: u16) -> Choreography {
    let calibration = Calibration {
        rest_us,
        strike_us,
        ..Calibration::default()
    };
    Choreography::within(Limits::try_from(calibration).unwrap())
}

/// Pulse and hold in ms; 0 µs for a pause.
fn in_ms(moves: &[Move]) -> Vec<(u16, u128)> {
    let one = |made: &Move| match made {
        Move::Pulse(step) => (step.pulse_us, step.hold.as_millis()),
        Move::Pause(pause) => (0, pause.as_millis()),
    };
    moves.iter().map(one).collect()
}

#[test]
fn each_gesture_is_its_moves() {
    let check = |gesture, (rest, strike), from, expect: &[(u16, u128)]| {
        let moves = plan(rest, strike).moves(gesture, from);
        assert_eq!(in_ms(&moves), expect, "{gesture:?}");
    };
    let (usual, turned) = ((1000, 2000), (1900, 1100));
    let nudge = [(1400, 250), (1000, 350)];
    check(Gesture::Nudge, usual, End::Rest, &nudge);
    let nudge = [(1580, 250), (1900, 350)];
    check(Gesture::Nudge, turned, End::Rest, &nudge);
    let twice = [(1400, 250), (1000, 250), (1400, 250), (1000, 350)];
    check(Gesture::DoubleNudge, usual, End::Rest, &twice);
    check(Gesture::Bonk, usual, End::Rest, &[(2000, 250), (1000, 350)]);
    let beat = [(2000, 150), (1400, 150)];
    let frenzy = [beat, beat, beat, beat].concat();
    let frenzy = [&frenzy[..], &[(1000, 350)]].concat();
    check(Gesture::Frenzy, usual, End::Rest, &frenzy);
    check(Gesture::Toggle, usual, End::Rest, &[(2000, 350)]);
    check(Gesture::Toggle, usual, End::Strike, &[(1000, 350)]);
}

#[test]
fn the_hammer_goes_down_once_for_each_blow() {
    for &gesture in Gesture::VARIANTS {
        let (mut place, mut blows) = (0.0, 0);
        for pose in plan(1000, 2000).poses(gesture) {
            blows += usize::from(pose.place > place);
            place = pose.place;
        }
        assert_eq!(blows, gesture.blows(), "{gesture:?}");
    }
}

#[test]
fn it_starts_in_bursts_where_it_was_left() {
    let toggle = Choreography {
        style: Style::Toggle,
        ..plan(1000, 2000)
    };
    let check = |plan, end, at| {
        let motion = Motion::new(plan, end).unwrap();
        let burst = [(at, 60), (0, 60)];
        let expect = [burst, burst, burst].concat();
        let expect = [&expect[..], &[(at, 350)]].concat();
        assert_eq!(in_ms(&motion.boot()), expect);
        assert_eq!(in_ms(&motion.settle()), [(at, 350)]);
    };
    check(toggle, End::Strike, 2000);
    check(toggle, End::Rest, 1000);
    // Without the toggle style it begins at rest.
    check(plan(1000, 2000), End::Strike, 1000);
}

#[test]
fn a_duty_below_one_gesture_is_refused() {
    let with = |duty: &str, style| {
        let duty = duty.parse().unwrap();
        let plan = Choreography {
            duty,
            style,
            tempo: Tempo {
                strike: Duration::from_millis(500),
                rest: Duration::from_millis(500),
            },
            ..plan(1000, 2000)
        };
        Motion::new(plan, End::Rest).map(|_| ())
    };
    // A frenzy: eight beats of 0.3 s, and twice the way to rest.
    let refused = DutyError {
        duty: "5%".parse().unwrap(),
        allowed: Duration::from_secs(3),
        needed: Duration::from_millis(3400),
    };
    assert_eq!(with("5%", Style::BySeverity), Err(refused));
    assert_eq!(with("6%", Style::BySeverity), Ok(()));
    assert_eq!(with("5%", Style::Bonk), Ok(()));
    assert_eq!(Percent::DUTY.to_string(), "20%");
}

#[test]
fn the_duty_counts_the_gesture_to_come() {
    let plan = Choreography {
        style: Style::Bonk,
        ..plan(1000, 2000)
    };
    let mut motion = Motion::new(plan, End::Rest).unwrap();
    let zero = Instant::now();
    // 12 s a minute, of which 0.35 s are for the last rest and 0.6 s for a bonk.
    motion.record_pulses(zero, zero + Duration::from_secs(11));
    let now = zero + Duration::from_secs(20);
    assert_eq!(motion.wait_time(now), Duration::ZERO);
    motion.record_pulses(now, now + Duration::from_millis(51));
    assert_eq!(motion.wait_time(now), Duration::from_secs(51));
    assert_eq!(motion.gesture(Severity::Node), Gesture::Bonk);
}
