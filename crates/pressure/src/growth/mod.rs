//! Which pattern the growth of memory has, and when it will reach its limit. Pure.
//!
//! `docs/pressure.md` has the rules in words, and how often they are right.

mod point;
mod trend;
mod zigzag;

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod traces;

use std::borrow::Cow;
use std::time::Duration;

use crate::history::{GrowthPattern, is_near};
pub(crate) use point::Point;
use trend::{BY_STEPS, CLEARLY, rises, slope};
use zigzag::Swings;

/// A rise within this time is sudden, where nothing before it was like it.
const SUDDEN_MS: u64 = 3_500;

/// Near the limit for so long, and for half of the time that was sampled, is at the limit.
const LONG_MS: u64 = 10_000;

/// The past that a forecast is made of.
const RECENT_MS: u64 = 20_000;

/// The shortest past that a forecast is made of.
const LEAST_MS: u64 = 4_000;

/// The same near the limit, where a guess is better than none.
const LEAST_NEAR_MS: u64 = 1_000;

/// What is farther away is not worth a forecast.
const FARTHEST: Duration = Duration::from_hours(24);

/// How memory grew in a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Growth {
    pub pattern: GrowthPattern,
    /// How fast it grew at last, in bytes per second; `None` where no two points of that growth are a
    /// millisecond apart.
    pub slope: Option<i64>,
    /// From half of the limit to the last point; `None` where it was never below that, or is so still.
    pub half_to_limit: Option<Duration>,
}

/// Classifies the growth up to the last point, which is that of a kill. Without a limit the last point
/// stands for it.
pub(super) fn classify_growth(points: &[Point], limit: Option<u64>) -> Growth {
    let whole = limit.or(points.last().map(|last| last.bytes));
    let whole = whole.unwrap_or_default().max(1);
    let (pattern, part) = classify(points, whole, limit.is_some());
    Growth {
        pattern,
        slope: slope(&part),
        half_to_limit: time_from_half(points, whole),
    }
}

/// When the limit is reached if it goes on like this; `None` while nothing grows, or where too few points
/// are known. Of a saw-tooth the bottoms count.
pub(super) fn forecast(points: &[Point], limit: u64) -> Option<Duration> {
    extrapolate(points, limit, LEAST_MS)
}

/// The same for one that has just come near its limit: it may not be there for long.
pub(super) fn forecast_near(points: &[Point], limit: u64) -> Option<Duration> {
    extrapolate(points, limit, LEAST_NEAR_MS)
}

fn extrapolate(points: &[Point], limit: u64, least_ms: u64) -> Option<Duration> {
    let last = points.last()?;
    let left = limit.checked_sub(last.bytes)?;
    let swings = Swings::find(points, swing(limit));
    let recent = last.at_ms.saturating_sub(RECENT_MS);
    let seen: Cow<'_, [Point]> = match swings.troughs.as_slice() {
        [_, _, ..] => Cow::Owned(swings.troughs),
        // What was given back once is no part of it.
        [trough] => Cow::Borrowed(since(points, recent.max(trough.at_ms))),
        [] => Cow::Borrowed(since(points, recent)),
    };
    let first = seen.first()?;
    if last.at_ms.saturating_sub(first.at_ms) < least_ms || !rises(&seen, limit / 200, CLEARLY) {
        return None;
    }
    let per_second = u64::try_from(slope(&seen)?).ok()?;
    let ms = left.saturating_mul(1000).checked_div(per_second)?;
    Some(Duration::from_millis(ms)).filter(|left| *left <= FARTHEST)
}

/// With the part of the points that the slope is taken of.
fn classify(points: &[Point], whole: u64, limited: bool) -> (GrowthPattern, Cow<'_, [Point]>) {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return (GrowthPattern::Unknown, Cow::Borrowed(points));
    };
    let is_low = |point: &Point| !limited || !is_near(point.bytes, whole);
    let arrival = points.iter().rposition(is_low).map_or(0, |low| low + 1);
    let (there, way) = (
        points.get(arrival..).unwrap_or_default(),
        points.get(..=arrival).unwrap_or(points),
    );
    let waited = there
        .first()
        .map_or(0, |it| last.at_ms.saturating_sub(it.at_ms));
    let seen = last.at_ms.saturating_sub(first.at_ms);
    let stayed = waited >= LONG_MS.max(seen / 2);
    if !stayed && is_sudden(way, whole) {
        return (GrowthPattern::Burst, Cow::Borrowed(climb(way)));
    }
    let swings = Swings::find(points, swing(whole));
    if rises(&swings.troughs, whole / 10, CLEARLY) {
        return (GrowthPattern::Leak, Cow::Owned(swings.troughs));
    }
    if stayed {
        return if rises(there, whole / 1000 * 3, CLEARLY) {
            (GrowthPattern::Leak, Cow::Borrowed(there))
        } else {
            (GrowthPattern::AtTheLimit, Cow::Borrowed(there))
        };
    }
    let is_high = |peak: &&Point| limited && peak.bytes >= whole / 4 * 3;
    let high = swings.peaks.iter().filter(is_high).count();
    if high > 0 && high * 2 >= swings.peaks.len() {
        return (GrowthPattern::AtTheLimit, Cow::Borrowed(points));
    }
    let given_back = swings.troughs.last().map_or(0, |trough| trough.at_ms);
    let run = climb(since(points, given_back));
    if rises(run, whole / 20, BY_STEPS) {
        (GrowthPattern::Leak, Cow::Borrowed(run))
    } else {
        (GrowthPattern::Unknown, Cow::Borrowed(run))
    }
}

/// Whether the end is a rise like none before it.
fn is_sudden(points: &[Point], whole: u64) -> bool {
    let Some((last, before)) = points.split_last() else {
        return false;
    };
    let rise = |to: &Point| {
        let from = level(points, to.at_ms.saturating_sub(SUDDEN_MS));
        to.bytes.saturating_sub(from)
    };
    let until = last.at_ms.saturating_sub(SUDDEN_MS);
    let earlier = before.iter().filter(|point| point.at_ms <= until);
    let steepest = earlier.map(rise).max().unwrap_or_default();
    rise(last) >= whole / 10 && rise(last) / 2 > steepest
}

/// From the last time that it was at the bottom.
fn climb(points: &[Point]) -> &[Point] {
    let bytes = || points.iter().map(|point| point.bytes);
    let floor = bytes().min().unwrap_or_default();
    let rise = bytes()
        .next_back()
        .unwrap_or_default()
        .saturating_sub(floor);
    let low = bytes().rposition(|bytes| bytes <= floor + rise / 10);
    points.get(low.unwrap_or_default()..).unwrap_or_default()
}

fn since(points: &[Point], at_ms: u64) -> &[Point] {
    let from = points.partition_point(|point| point.at_ms < at_ms);
    points.get(from..).unwrap_or_default()
}

/// What was there at a moment, between two points in proportion.
fn level(points: &[Point], at_ms: u64) -> u64 {
    let after = points.partition_point(|point| point.at_ms <= at_ms);
    let around = |n: usize| points.get(n).copied();
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

fn time_from_half(points: &[Point], whole: u64) -> Option<Duration> {
    let half = whole / 2;
    let last = points.last().filter(|last| last.bytes >= half)?;
    let below = points.iter().rposition(|point| point.bytes < half)?;
    let (a, b) = (points.get(below)?, points.get(below + 1)?);
    let (step, rise) = (b.at_ms - a.at_ms, (b.bytes - a.bytes).max(1));
    let crossed = a.at_ms + step.saturating_mul(half - a.bytes) / rise;
    Some(Duration::from_millis(last.at_ms.saturating_sub(crossed)))
}

/// What is less is noise.
fn swing(whole: u64) -> u64 {
    whole / 100 * 8
}
