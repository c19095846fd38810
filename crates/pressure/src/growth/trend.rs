//! Whether a series rises, and how fast: Kendall's tau and the Theil–Sen estimator, which a few
//! outliers do not turn.

use super::point::Point;

/// Percent of the pairs of points that must rise, less those that fall.
pub(super) const CLEARLY: i64 = 60;

/// The same of a stair, of whose pairs many are of one step.
pub(super) const BY_STEPS: i64 = 40;

/// The median of the slopes between all pairs, in bytes per second; `None` without a pair.
pub(super) fn slope(points: &[Point]) -> Option<i64> {
    let slopes = pairs(points).map(|(from, to)| {
        let ms = i128::from(to.at_ms.saturating_sub(from.at_ms));
        rise(from, to).saturating_mul(1000).checked_div(ms)
    });
    let mut slopes: Vec<i128> = slopes.flatten().collect();
    let middle = slopes.len() / 2;
    let slope = (!slopes.is_empty()).then(|| *slopes.select_nth_unstable(middle).1)?;
    Some(i64::try_from(slope).unwrap_or(if slope > 0 { i64::MAX } else { i64::MIN }))
}

/// Whether it rises by `least` bytes or more, and not by chance: `percent` of its pairs do.
pub(super) fn rises(points: &[Point], least: u64, percent: i64) -> bool {
    let (mut all, mut signs) = (0, 0);
    for (from, to) in pairs(points) {
        all += 1;
        signs += i64::try_from(rise(from, to).signum()).unwrap_or_default();
    }
    let third = points.len().div_ceil(3);
    let (Some(low), Some(high)) = (
        points.get(..third).and_then(median),
        points
            .len()
            .checked_sub(third)
            .and_then(|from| median(points.get(from..)?)),
    ) else {
        return false;
    };
    all > 0 && signs * 100 >= all * percent && high.saturating_sub(low) >= least.max(1)
}

fn median(points: &[Point]) -> Option<u64> {
    let mut bytes: Vec<u64> = points.iter().map(|point| point.bytes).collect();
    let middle = bytes.len() / 2;
    (!bytes.is_empty()).then(|| *bytes.select_nth_unstable(middle).1)
}

fn pairs(points: &[Point]) -> impl Iterator<Item = (&Point, &Point)> {
    let after = |(n, from)| points.iter().skip(n + 1).map(move |to| (from, to));
    points.iter().enumerate().flat_map(after)
}

fn rise(from: &Point, to: &Point) -> i128 {
    i128::from(to.bytes) - i128::from(from.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(bytes: &[u64]) -> Vec<Point> {
        let point = |(n, &bytes): (usize, &u64)| Point {
            at_ms: n as u64 * 1000,
            bytes,
        };
        bytes.iter().enumerate().map(point).collect()
    }

    #[test]
    fn an_outlier_does_not_turn_the_slope() {
        let check = |bytes: &[u64], expected| assert_eq!(slope(&points(bytes)), expected);
        check(&[], None);
        check(&[5], None);
        check(&[5, 15], Some(10));
        check(&[30, 20, 10], Some(-10));
        check(&[0, 10, 20, 900, 40, 50, 60, 70], Some(10));
        check(&[0, u64::MAX], Some(i64::MAX));
    }

    #[test]
    fn two_at_one_moment_have_no_slope() {
        assert_eq!(slope(&[Point::default(), Point::default()]), None);
    }

    #[test]
    fn a_rise_is_more_than_noise_and_more_than_nothing() {
        let check = |bytes: &[u64], least, percent, expected: bool| {
            assert_eq!(rises(&points(bytes), least, percent), expected, "{bytes:?}");
        };
        check(&[], 0, CLEARLY, false);
        check(&[1, 1, 1, 1], 0, CLEARLY, false);
        check(&[0, 10, 20, 30], 15, CLEARLY, true);
        check(&[0, 10, 20, 30], 50, CLEARLY, false);
        check(&[0, 30, 0, 30, 0, 30], 1, CLEARLY, false);
        check(&[0, 0, 0, 10, 10, 10], 1, CLEARLY, true);
        check(&[0, 0, 0, 0, 10, 10, 0, 0, 10, 10], 1, BY_STEPS, false);
    }
}
