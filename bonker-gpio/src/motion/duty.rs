//! How much of a minute pulses are on: a servo that is driven without a break heats up.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// The span over which the duty is counted.
const MINUTE: Duration = Duration::from_mins(1);

/// More spans in a minute are counted as longer ones.
const REMEMBERED: usize = 128;

/// 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(u8);

/// Keeps the time with pulses below a share of any minute. Pure.
#[derive(Clone, Debug)]
pub struct Duty {
    allowed: Duration,
    /// Held back for the way to rest at the end, which waits for nothing.
    reserve: Duration,
    /// Oldest first.
    spans: VecDeque<Span>,
}

/// Pulses were on for `on` at most, all of it before `ended`.
#[derive(Clone, Copy, Debug)]
struct Span {
    on: Duration,
    ended: Instant,
}

// === impl Duty ===

impl Duty {
    /// Lets pulses be on for `share` of any minute, `reserve` of it for the way to rest.
    pub fn new(share: Percent, reserve: Duration) -> Self {
        Self {
            allowed: MINUTE * u32::from(share.0) / 100,
            reserve,
            spans: VecDeque::with_capacity(REMEMBERED),
        }
    }

    /// Time with pulses that any minute may have.
    pub fn allowed(&self) -> Duration {
        self.allowed
    }

    /// How long pulses of `planned` in all have to wait; zero if they may begin at `now`.
    /// Pulses that do not fit into an empty minute wait for one.
    pub fn wait_time(&mut self, planned: Duration, now: Instant) -> Duration {
        self.forget(now);
        let room = self.allowed.saturating_sub(self.reserve + planned);
        let mut on: Duration = self.spans.iter().map(|span| span.on).sum();
        for span in &self.spans {
            if on <= room {
                break;
            }
            on = on.saturating_sub(span.on);
            if on <= room {
                return MINUTE.saturating_sub(now.saturating_duration_since(span.ended));
            }
        }
        Duration::ZERO
    }

    /// Counts pulses from `began` to `ended`.
    pub fn record_pulses(&mut self, began: Instant, ended: Instant) {
        self.forget(ended);
        let mut on = ended.saturating_duration_since(began);
        if self.spans.len() == REMEMBERED {
            // Counted as if all of it had ended when the younger one did: too long, never
            // too short.
            let oldest = self.spans.pop_front().map(|span| span.on);
            let oldest = oldest.unwrap_or_default();
            match self.spans.front_mut() {
                Some(next) => next.on += oldest,
                None => on += oldest,
            }
        }
        self.spans.push_back(Span { on, ended });
    }

    fn forget(&mut self, now: Instant) {
        let old = |span: &Span| now.saturating_duration_since(span.ended) >= MINUTE;
        while self.spans.front().is_some_and(old) {
            self.spans.pop_front();
        }
    }
}

// === impl Percent ===

impl Percent {
    pub const NUDGE: Self = Self(40);
    /// 12 s of a minute, some sixteen bonks.
    pub const DUTY: Self = Self(20);

    /// This share of `whole`, rounded down.
    pub fn share_of(self, whole: u16) -> u16 {
        let part = u32::from(whole) * u32::from(self.0) / 100;
        u16::try_from(part).unwrap_or(whole)
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').unwrap_or(text);
        match number.parse() {
            Ok(share @ 1..=100) => Ok(Self(share)),
            _ => Err("use 1% to 100%".to_owned()),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

#[cfg(test)]
mod tests;
