#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a helper of tests may panic"
)]

//! Whatever is submitted and when: the pulses stay within the limits and the duty, and end
//! where they should, off.

use std::time::{Duration, Instant};

use bonker_gpio::{
    Calibration, Choreography, End, LONGEST_US, Limits, LimitsError, MAX_HOLD, Motion, Move,
    Percent, SHORTEST_US, STOP_DEADLINE, Severity, Style, Tempo, cut_short,
};
use proptest::prelude::*;

const MINUTE: Duration = Duration::from_mins(1);

fn calibrations() -> impl Strategy<Value = Calibration> {
    (SHORTEST_US..LONGEST_US)
        .prop_flat_map(|min| (Just(min), min + 1..=LONGEST_US))
        .prop_flat_map(|(min, max)| (Just(min), Just(max), min..=max, min..=max))
        .prop_map(|(min_us, max_us, rest_us, strike_us)| Calibration {
            min_us,
            max_us,
            rest_us,
            strike_us,
        })
}

fn percents(least: u8) -> impl Strategy<Value = Percent> {
    (least..=100).prop_map(|share| share.to_string().parse().unwrap())
}

fn plans() -> impl Strategy<Value = Choreography> {
    let styles = prop::sample::select(vec![Style::BySeverity, Style::Bonk, Style::Toggle]);
    let hold = || (0..1000_u64).prop_map(Duration::from_millis);
    let holds = (hold(), hold());
    (calibrations(), holds, percents(1), styles, percents(7)).prop_map(
        |(calibration, (strike, rest), nudge, style, duty)| Choreography {
            limits: Limits::try_from(calibration).unwrap(),
            tempo: Tempo { strike, rest },
            nudge,
            style,
            duty,
        },
    )
}

fn severities() -> impl Strategy<Value = Severity> {
    use Severity::{Critical, Kill, Node, Warning};
    prop::sample::select(vec![Warning, Critical, Kill, Node])
}

/// A servo that takes down what the arm would do, on a clock of its own.
struct Bench {
    motion: Motion,
    now: Instant,
    /// Pulses: width, from, to.
    on: Vec<(u16, Instant, Instant)>,
}

impl Bench {
    /// Makes `moves`, of which `stop_after` are made before the stop comes.
    fn make(&mut self, moves: &[Move], stop_after: usize) {
        let mut left = moves;
        let mut began = None;
        let mut made = 0;
        while let [next, rest @ ..] = left {
            match next {
                Move::Pulse(step) => {
                    began.get_or_insert(self.now);
                    assert!(step.hold <= MAX_HOLD);
                    self.on
                        .push((step.pulse_us, self.now, self.now + step.hold));
                    self.now += step.hold;
                }
                Move::Pause(pause) => {
                    if let Some(began) = began.take() {
                        self.motion.record_pulses(began, self.now);
                    }
                    self.now += *pause;
                }
            }
            made += 1;
            left = if made > stop_after {
                cut_short(rest)
            } else {
                rest
            };
        }
        let began = began.expect("the last move is a pulse, after which the arm detaches");
        self.motion.record_pulses(began, self.now);
    }

    fn end_us(&self, plan: &Choreography) -> u16 {
        match self.motion.end() {
            End::Rest => plan.limits.rest_us(),
            End::Strike => plan.limits.strike_us(),
        }
    }
}

proptest! {
    /// Invariants: no pulse outside the limits, no hold over the bound, no minute over the
    /// duty, and every gesture ends at rest, or where a toggle goes.
    #[test]
    fn any_sequence_stays_within_limits_and_duty(
        plan in plans(),
        start in prop::sample::select(vec![End::Rest, End::Strike]),
        submitted in prop::collection::vec((severities(), 0..3000_u64), 0..120),
        stop_after in 0..10_usize,
    ) {
        let motion = Motion::new(plan, start).unwrap();
        let mut bench = Bench { motion, now: Instant::now(), on: Vec::new() };
        let boot = bench.motion.boot();
        bench.make(&boot, usize::MAX);
        let last = submitted.len();
        for (number, (severity, gap_ms)) in submitted.into_iter().enumerate() {
            bench.now += Duration::from_millis(gap_ms);
            let gesture = bench.motion.gesture(severity);
            let wait = bench.motion.wait_time(bench.now);
            prop_assert!(wait <= MINUTE);
            bench.now += wait;
            prop_assert_eq!(bench.motion.wait_time(bench.now), Duration::ZERO);
            let moves = bench.motion.begin_gesture(gesture);
            let stop = if number + 1 == last { stop_after } else { usize::MAX };
            bench.make(&moves, stop);
            let end = bench.end_us(&plan);
            prop_assert_eq!(bench.on.last().unwrap().0, end);
            if plan.style != Style::Toggle {
                prop_assert_eq!(end, plan.limits.rest_us());
            }
        }
        let settle = bench.motion.settle();
        bench.make(&settle, usize::MAX);
        prop_assert_eq!(bench.on.last().unwrap().0, bench.end_us(&plan));

        let allowed = MINUTE * plan.duty.share_of(6000).into() / 6000;
        for (pulse_us, _, to) in &bench.on {
            prop_assert!(plan.limits.contains(*pulse_us));
            let from = to.checked_sub(MINUTE).unwrap();
            let on: Duration = bench.on.iter()
                .map(|(_, a, b)| (*b).min(*to).saturating_duration_since((*a).max(from)))
                .sum();
            prop_assert!(on <= allowed, "{on:?} of {allowed:?}");
        }
    }

    /// Invariant: whenever the stop comes, what is left fits the server's deadline.
    #[test]
    fn a_stop_is_in_time(plan in plans(), severity in severities(), stop_after in 0..10_usize) {
        let motion = Motion::new(plan, End::Rest).unwrap();
        let mut bench = Bench { motion, now: Instant::now(), on: Vec::new() };
        let gesture = bench.motion.gesture(severity);
        let moves = bench.motion.begin_gesture(gesture);
        bench.make(&moves, stop_after);
        let settle = bench.motion.settle();
        bench.make(&settle, 0);
        // It came while the move after `stop_after` others was made.
        if let Some((_, stopped, _)) = bench.on.get(stop_after) {
            // Two stops of the hardware's pulses take a frame each.
            // The goodbyes have their own part.
            let took = bench.now - *stopped + Duration::from_millis(40 + 250);
            prop_assert!(took <= STOP_DEADLINE, "{took:?}");
        }
    }

    /// Invariant: limits exist exactly for calibrations that a servo can follow.
    #[test]
    fn limits_hold_or_are_refused(
        (min_us, max_us) in (0..25_000_u16, 0..25_000_u16),
        (rest_us, strike_us) in (0..25_000_u16, 0..25_000_u16),
        scale in prop::sample::select(vec![1_u16, 8]),
    ) {
        let calibration = Calibration {
            min_us: min_us / scale,
            max_us: max_us / scale,
            rest_us: rest_us / scale,
            strike_us: strike_us / scale,
        };
        let Calibration { min_us, max_us, rest_us, strike_us } = calibration;
        let range = min_us..=max_us;
        let sound = SHORTEST_US <= min_us && min_us < max_us && max_us <= LONGEST_US
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
    let empty = LimitsError::Empty {
        min_us: 2000,
        max_us: 2000,
    };
    check(2000, 2000, 2000, 2000, empty);
    let beyond = |what, pulse_us| LimitsError::Beyond { what, pulse_us };
    check(499, 2000, 1000, 2000, beyond("min", 499));
    check(1000, 2501, 1000, 2000, beyond("max", 2501));
    let outside = |what, pulse_us| LimitsError::Outside {
        what,
        pulse_us,
        min_us: 1000,
        max_us: 2000,
    };
    check(1000, 2000, 999, 2000, outside("rest", 999));
    check(1000, 2000, 1000, 2001, outside("strike", 2001));
}
