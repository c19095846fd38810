//! Many measurements as a few figures. Pure.

use std::time::Duration;

/// Of a set of times; in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) min: u64,
    pub(super) p50: u64,
    pub(super) p99: u64,
    pub(super) max: u64,
}

impl Times {
    /// `None` where there is nothing to make figures of.
    pub(super) fn summarize(times: impl IntoIterator<Item = u64>) -> Option<Self> {
        let mut times: Vec<u64> = times.into_iter().collect();
        times.sort_unstable();
        Some(Self {
            min: *times.first()?,
            p50: quantile(&times, 50)?,
            p99: quantile(&times, 99)?,
            max: *times.last()?,
        })
    }
}

/// The nearest rank: the smallest value that this many percent do not exceed.
fn quantile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = sorted.len().checked_mul(percent)?.div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

/// How many times `ours` goes into `theirs`, in tenths, rounded down.
pub(super) fn ratio_tenths(theirs: u64, ours: u64) -> Option<u64> {
    theirs.checked_mul(10)?.checked_div(ours)
}

/// How many times `base` goes into `cost`, in tenths, rounded up.
pub(super) fn multiple_tenths(cost: u64, base: u64) -> Option<u64> {
    (base > 0).then(|| cost.saturating_mul(10).div_ceil(base))
}

/// Of a number of tenths.
pub(super) fn tenths(value: u64) -> String {
    format!("{}.{}", value / 10, value % 10)
}

/// A cell for what may be missing.
pub(super) fn or_dash(value: Option<String>) -> String {
    value.unwrap_or_else(|| "–".to_owned())
}

pub(super) fn mib(kib: u64) -> String {
    tenths(kib.saturating_mul(10) >> 10)
}

/// Of nanoseconds.
pub(super) fn milliseconds(ns: u64) -> String {
    format!("{}.{:03}", ns / 1_000_000, ns / 1000 % 1000)
}

/// Rounded down.
pub(super) fn seconds_in_tenths(time: Duration) -> String {
    tenths(time.as_secs() * 10 + u64::from(time.subsec_millis() / 100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_value_that_was_measured() {
        let check = |values: Vec<u64>, [min, p50, p99, max]: [u64; 4]| {
            let times = Times { min, p50, p99, max };
            assert_eq!(Times::summarize(values), Some(times));
        };
        check((1..=100).rev().collect(), [1, 50, 99, 100]);
        check((1..=300).collect(), [1, 150, 297, 300]);
        check(vec![9, 1, 5, 3], [1, 3, 9, 9]);
        check(vec![7, 5], [5, 5, 7, 7]);
        check(vec![7], [7, 7, 7, 7]);
        assert_eq!(Times::summarize([]), None);
    }

    #[test]
    fn a_ratio_never_flatters() {
        assert_eq!(ratio_tenths(299, 100), Some(29));
        assert_eq!(ratio_tenths(50, 100), Some(5));
        assert_eq!(ratio_tenths(1, 0), None);
        assert_eq!(multiple_tenths(201, 100), Some(21));
        assert_eq!(multiple_tenths(200, 100), Some(20));
        assert_eq!(multiple_tenths(1, 0), None);
    }
}
