//! A gesture as a list of pulses, holds and pauses within calibrated limits and a duty. Pure.

mod duty;
mod gesture;
mod limits;

use std::time::{Duration, Instant};

use crate::duration::{duration_within, format_duration};
pub use duty::{Duty, Percent};
pub(crate) use gesture::Gesture;
use gesture::Stop;
pub use gesture::{End, Style};
pub(crate) use limits::FRAME_US;
pub use limits::{Calibration, LONGEST_US, Limits, LimitsError, MAX_HOLD, SHORTEST_US, Step};

/// No servo follows a shorter one.
const MIN_HOLD: Duration = Duration::from_millis(1);

/// How often the servo is nudged towards its first place before it is held there.
const SOFT_STARTS: usize = 3;

/// Three frames: what a servo takes up as an order, and too short to draw its full current.
const SOFT_START_ON: Duration = Duration::from_millis(60);
const SOFT_START_OFF: Duration = Duration::from_millis(60);

/// Pulses stop at the end of a gesture, and not between two of different width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Send pulses for as long as the step is held.
    Pulse(Step),
    Pause(Duration),
}

/// How long the steps of a gesture are held; longer than [`MAX_HOLD`] is cut to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub struct Tempo {
    /// Time of a strike, including the way to the penguin; 500ms at most
    #[arg(long = "hold", env = "BONKER_HOLD", value_name = "TIME",
          default_value = format_duration(Self::default().strike),
          value_parser = duration_within(MIN_HOLD, MAX_HOLD))]
    pub strike: Duration,
    /// Time of the way back, after which the pulses stop; 500ms at most
    #[arg(long = "settle", env = "BONKER_SETTLE", value_name = "TIME",
          default_value = format_duration(Self::default().rest),
          value_parser = duration_within(MIN_HOLD, MAX_HOLD))]
    pub rest: Duration,
}

/// Settings of the motion; [`Motion`] is the checked form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choreography {
    pub limits: Limits,
    pub tempo: Tempo,
    pub nudge: Percent,
    pub style: Style,
    /// How much of any minute pulses may be on.
    pub duty: Percent,
}

/// A [`Choreography`] whose longest gesture fits its duty, the end the hammer is at, and the
/// pulses of the last minute. Pure: takes the time as an argument.
#[derive(Clone, Debug)]
pub struct Motion {
    plan: Choreography,
    end: End,
    duty: Duty,
    /// Time with pulses of its longest gesture.
    longest: Duration,
}

/// A pulse as it looks, for the page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pose {
    /// 0 at rest, 1 at the strike.
    pub(crate) place: f64,
    /// The way there included.
    pub(crate) hold: Duration,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "a duty of {duty} lets pulses be on for {allowed:?} a minute, and the longest gesture with \
     its way to rest takes {needed:?}: raise the duty or shorten the holds"
)]
pub struct DutyError {
    pub duty: Percent,
    pub allowed: Duration,
    pub needed: Duration,
}

// === impl Motion ===

impl Motion {
    /// A hammer that was left at `end`; only [`Style::Toggle`] leaves it anywhere but at rest.
    pub fn new(plan: Choreography, end: End) -> Result<Self, DutyError> {
        let settle = plan.tempo.rest.min(MAX_HOLD);
        let boot = time_on(&plan.boot(End::Rest));
        let gestures = plan.style.gestures().into_iter();
        let times = gestures.map(|gesture| time_on(&plan.moves(gesture, End::Rest)));
        let longest = times.fold(boot, Duration::max);
        let needed = longest + settle;
        let duty = Duty::new(plan.duty, settle);
        if needed > duty.allowed() {
            return Err(DutyError {
                duty: plan.duty,
                allowed: duty.allowed(),
                needed,
            });
        }
        let end = if plan.style == Style::Toggle {
            end
        } else {
            End::Rest
        };
        Ok(Self {
            plan,
            end,
            duty,
            longest,
        })
    }

    /// Which gesture answers something this bad.
    pub fn gesture(&self, severity: crate::bonk::Severity) -> Gesture {
        self.plan.style.gesture(severity)
    }

    /// Where the hammer is, or will be once what was begun is done.
    pub fn end(&self) -> End {
        self.end
    }

    /// How long the next gesture, whichever it is, has to wait for the servo to cool down;
    /// zero if it may begin.
    pub fn wait_time(&mut self, now: Instant) -> Duration {
        self.duty.wait_time(self.longest, now)
    }

    /// Begins `gesture`: never empty, and the last move is a pulse at an end.
    pub fn begin_gesture(&mut self, gesture: Gesture) -> Vec<Move> {
        let moves = self.plan.moves(gesture, self.end);
        self.end = gesture.end(self.end);
        moves
    }

    /// How each gesture of this style looks, beginning at rest.
    pub(crate) fn poses(&self) -> Vec<(Gesture, Vec<Pose>)> {
        let gestures = self.plan.style.gestures().into_iter();
        gestures
            .map(|gesture| (gesture, self.plan.poses(gesture)))
            .collect()
    }

    /// The way from wherever the hammer was left to its end.
    ///
    /// A hobby servo does not report where it is, so that no ramp can start there. A few short
    /// bursts move it instead: an analog servo comes in stages and each draws
    /// current for three frames, which a weak supply survives where one long haul would
    /// reset the Pi; a digital one goes at the first burst and has the pauses to recover.
    pub fn boot(&self) -> Vec<Move> {
        self.plan.boot(self.end)
    }

    /// To the end the hammer is at, once more: before the process ends.
    pub fn settle(&self) -> Vec<Move> {
        vec![self.plan.settle(self.end)]
    }

    /// Counts pulses from `began` to `ended`.
    pub fn record_pulses(&mut self, began: Instant, ended: Instant) {
        self.duty.record_pulses(began, ended);
    }
}

/// The moves of `left` that are made once the process stops: the last one alone, which leads to
/// an end.
pub fn cut_short(left: &[Move]) -> &[Move] {
    left.get(left.len().saturating_sub(1)..).unwrap_or_default()
}

/// For how long pulses are on during `moves`.
pub fn time_on(moves: &[Move]) -> Duration {
    let on = |made: &Move| match made {
        Move::Pulse(step) => step.hold,
        Move::Pause(_) => Duration::ZERO,
    };
    moves.iter().map(on).sum()
}

// === impl Choreography ===

impl Choreography {
    fn moves(&self, gesture: Gesture, from: End) -> Vec<Move> {
        let strike = self.tempo.strike.min(MAX_HOLD);
        let beats = gesture.beats().iter();
        let mut moves: Vec<Move> = beats
            .map(|(stop, percent)| self.pulse(self.stop_us(*stop), strike * *percent / 100))
            .collect();
        moves.push(self.settle(gesture.end(from)));
        moves
    }

    fn poses(&self, gesture: Gesture) -> Vec<Pose> {
        let (rest, strike) = (self.limits.rest_us(), self.limits.strike_us());
        let way = f64::from(rest.abs_diff(strike).max(1));
        let pose = |made: Move| match made {
            Move::Pulse(step) => Some(Pose {
                place: f64::from(step.pulse_us.abs_diff(rest)) / way,
                hold: step.hold,
            }),
            Move::Pause(_) => None,
        };
        let moves = self.moves(gesture, End::Rest);
        moves.into_iter().filter_map(pose).collect()
    }

    fn boot(&self, end: End) -> Vec<Move> {
        let burst = self.pulse(self.end_us(end), SOFT_START_ON);
        let mut moves = [burst, Move::Pause(SOFT_START_OFF)].repeat(SOFT_STARTS);
        moves.push(self.settle(end));
        moves
    }

    fn settle(&self, end: End) -> Move {
        self.pulse(self.end_us(end), self.tempo.rest)
    }

    fn pulse(&self, pulse_us: u16, hold: Duration) -> Move {
        Move::Pulse(Step {
            pulse_us: self.limits.clamp(pulse_us),
            hold: hold.min(MAX_HOLD),
        })
    }

    fn end_us(&self, end: End) -> u16 {
        match end {
            End::Rest => self.limits.rest_us(),
            End::Strike => self.limits.strike_us(),
        }
    }

    fn stop_us(&self, stop: Stop) -> u16 {
        let (rest, strike) = (self.limits.rest_us(), self.limits.strike_us());
        let way = self.nudge.share_of(rest.abs_diff(strike));
        match stop {
            Stop::Rest => rest,
            Stop::Strike => strike,
            Stop::Nudge if strike > rest => rest + way,
            Stop::Nudge => rest - way,
        }
    }
}

impl Choreography {
    /// The defaults within `limits`.
    pub fn within(limits: Limits) -> Self {
        Self {
            limits,
            tempo: Tempo::default(),
            nudge: Percent::NUDGE,
            style: Style::default(),
            duty: Percent::DUTY,
        }
    }
}

// === impl Tempo ===

impl Default for Tempo {
    fn default() -> Self {
        Self {
            strike: Duration::from_millis(250),
            rest: Duration::from_millis(350),
        }
    }
}

#[cfg(test)]
mod tests;
