//! What the growth of memory looks like, and when it will come to its limit. Pure.
//!
//! `docs/pressure.md` tells the rules to people, and how often they are right.

mod trend;
mod zigzag;

#[cfg(test)]
mod recorded;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod traces;

use std::borrow::Cow;
use std::time::Duration;

use crate::history::{Growth, is_near};
use trend::{BY_STEPS, CLEARLY, rises, slope};
use zigzag::Swings;

/// A rise within this time is sudden, where nothing before it was like it.
const SUDDEN_MS: u64 = 3_500;

/// Near the limit for so long, and for half of the time that was seen, is at the limit.
const LONG_MS: u64 = 10_000;

/// What of the past a forecast is made of.
const RECENT_MS: u64 = 20_000;

/// The shortest past that tells where it goes.
const SEEN_MS: u64 = 4_000;

/// The same near the limit, where a guess is better than none.
const SEEN_NEAR_MS: u64 = 1_000;

/// Nobody plans for what is farther away.
const FARTHEST: Duration = Duration::from_hours(24);

/// How much memory there was. In order of time wherever there are several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    /// ms after any moment that all of them share.
    pub at_ms: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What a minute of memory looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    /// In which way it came to where it is.
    pub growth: Growth,
    /// How fast it grew at last, in bytes per second; `None` where no two samples of that growth are a
    /// millisecond apart.
    pub slope: Option<i64>,
    /// From half of the limit to the last sample; `None` where it was never below that, or is so still.
    pub half_to_limit: Option<Duration>,
}

/// Judges how the last sample was come to, which is that of a kill. Without a limit the last sample
/// stands for it.
pub(super) fn judge(samples: &[Sample], limit: Option<u64>) -> Judgement {
    let whole = limit.or(samples.last().map(|last| last.bytes));
    let whole = whole.unwrap_or_default().max(1);
    let (growth, of) = verdict(samples, whole, limit.is_some());
    Judgement {
        growth,
        slope: slope(&of),
        half_to_limit: half_to_end(samples, whole),
    }
}

/// When the limit is reached if it goes on like this; `None` while nothing grows, or where too little
/// was seen. Of a saw-tooth it is what is left at the bottom that counts.
pub(super) fn forecast(samples: &[Sample], limit: u64) -> Option<Duration> {
    ahead(samples, limit, SEEN_MS)
}

/// The same for one that has just come near its limit: it may not be there for long.
pub(super) fn forecast_near(samples: &[Sample], limit: u64) -> Option<Duration> {
    ahead(samples, limit, SEEN_NEAR_MS)
}

fn ahead(samples: &[Sample], limit: u64, seen_ms: u64) -> Option<Duration> {
    let last = samples.last()?;
    let left = limit.checked_sub(last.bytes)?;
    let swings = Swings::of(samples, swing(limit));
    let recent = last.at_ms.saturating_sub(RECENT_MS);
    let seen: Cow<'_, [Sample]> = match swings.troughs.as_slice() {
        [_, _, ..] => Cow::Owned(swings.troughs),
        // What was given back once is no part of it.
        [trough] => Cow::Borrowed(since(samples, recent.max(trough.at_ms))),
        [] => Cow::Borrowed(since(samples, recent)),
    };
    let first = seen.first()?;
    if last.at_ms.saturating_sub(first.at_ms) < seen_ms || !rises(&seen, limit / 200, CLEARLY) {
        return None;
    }
    let per_second = u64::try_from(slope(&seen)?).ok()?;
    let ms = left.saturating_mul(1000).checked_div(per_second)?;
    Some(Duration::from_millis(ms)).filter(|left| *left <= FARTHEST)
}

/// With the part of the samples that tells how fast.
fn verdict(samples: &[Sample], whole: u64, limited: bool) -> (Growth, Cow<'_, [Sample]>) {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return (Growth::Unknown, Cow::Borrowed(samples));
    };
    let is_low = |sample: &Sample| !limited || !is_near(sample.bytes, whole);
    let arrival = samples.iter().rposition(is_low).map_or(0, |low| low + 1);
    let (there, way) = (
        samples.get(arrival..).unwrap_or_default(),
        samples.get(..=arrival).unwrap_or(samples),
    );
    let waited = there
        .first()
        .map_or(0, |it| last.at_ms.saturating_sub(it.at_ms));
    let seen = last.at_ms.saturating_sub(first.at_ms);
    let stayed = waited >= LONG_MS.max(seen / 2);
    if !stayed && is_sudden(way, whole) {
        return (Growth::Burst, Cow::Borrowed(climb(way)));
    }
    let swings = Swings::of(samples, swing(whole));
    if rises(&swings.troughs, whole / 10, CLEARLY) {
        return (Growth::Leak, Cow::Owned(swings.troughs));
    }
    if stayed {
        return if rises(there, whole / 1000 * 3, CLEARLY) {
            (Growth::Leak, Cow::Borrowed(there))
        } else {
            (Growth::AtTheLimit, Cow::Borrowed(there))
        };
    }
    let is_high = |peak: &&Sample| limited && peak.bytes >= whole / 4 * 3;
    let high = swings.peaks.iter().filter(is_high).count();
    if high > 0 && high * 2 >= swings.peaks.len() {
        return (Growth::AtTheLimit, Cow::Borrowed(samples));
    }
    let given_back = swings.troughs.last().map_or(0, |trough| trough.at_ms);
    let run = climb(since(samples, given_back));
    if rises(run, whole / 20, BY_STEPS) {
        (Growth::Leak, Cow::Borrowed(run))
    } else {
        (Growth::Unknown, Cow::Borrowed(run))
    }
}

/// Whether the end is a rise like none before it.
fn is_sudden(samples: &[Sample], whole: u64) -> bool {
    let Some((last, before)) = samples.split_last() else {
        return false;
    };
    let rise = |to: &Sample| {
        let from = level(samples, to.at_ms.saturating_sub(SUDDEN_MS));
        to.bytes.saturating_sub(from)
    };
    let until = last.at_ms.saturating_sub(SUDDEN_MS);
    let earlier = before.iter().filter(|sample| sample.at_ms <= until);
    let steepest = earlier.map(rise).max().unwrap_or_default();
    rise(last) >= whole / 10 && rise(last) / 2 > steepest
}

/// From the last time that it was at the bottom.
fn climb(samples: &[Sample]) -> &[Sample] {
    let bytes = || samples.iter().map(|sample| sample.bytes);
    let floor = bytes().min().unwrap_or_default();
    let rise = bytes()
        .next_back()
        .unwrap_or_default()
        .saturating_sub(floor);
    let low = bytes().rposition(|bytes| bytes <= floor + rise / 10);
    samples.get(low.unwrap_or_default()..).unwrap_or_default()
}

fn since(samples: &[Sample], at_ms: u64) -> &[Sample] {
    let from = samples.partition_point(|sample| sample.at_ms < at_ms);
    samples.get(from..).unwrap_or_default()
}

/// What was there at a moment, between two samples in proportion.
fn level(samples: &[Sample], at_ms: u64) -> u64 {
    let after = samples.partition_point(|sample| sample.at_ms <= at_ms);
    let around = |n: usize| samples.get(n).copied();
    match (after.checked_sub(1).and_then(around), around(after)) {
        (Some(a), Some(b)) => {
            let (passed, step) = (at_ms - a.at_ms, (b.at_ms - a.at_ms).max(1));
            let part = |bytes: u64| bytes.saturating_mul(passed) / step;
            if b.bytes >= a.bytes {
                a.bytes + part(b.bytes - a.bytes)
            } else {
                a.bytes - part(a.bytes - b.bytes)
            }
        }
        (Some(only), None) | (None, Some(only)) => only.bytes,
        (None, None) => 0,
    }
}

fn half_to_end(samples: &[Sample], whole: u64) -> Option<Duration> {
    let half = whole / 2;
    let last = samples.last().filter(|last| last.bytes >= half)?;
    let below = samples.iter().rposition(|sample| sample.bytes < half)?;
    let (a, b) = (samples.get(below)?, samples.get(below + 1)?);
    let (step, rise) = (b.at_ms - a.at_ms, (b.bytes - a.bytes).max(1));
    let crossed = a.at_ms + step.saturating_mul(half - a.bytes) / rise;
    Some(Duration::from_millis(last.at_ms.saturating_sub(crossed)))
}

/// What is less is noise.
fn swing(whole: u64) -> u64 {
    whole / 100 * 8
}
