//! The turns of a series: where it had risen far, and where it had fallen as far.

use super::point::Point;

/// Turns that are confirmed, each in order of time.
#[derive(Debug, Default)]
pub(super) struct Swings {
    pub(super) peaks: Vec<Point>,
    pub(super) troughs: Vec<Point>,
}

// === impl Swings ===

impl Swings {
    /// Each turn is `least` bytes from the one before and the one after it.
    pub(super) fn find(points: &[Point], least: u64) -> Self {
        let mut swings = Self::default();
        let Some(first) = points.first() else {
            return swings;
        };
        let (mut rising, mut extreme) = (true, *first);
        for point in points {
            let (onward, back) = if rising {
                (
                    point.bytes >= extreme.bytes,
                    extreme.bytes.saturating_sub(point.bytes),
                )
            } else {
                (
                    point.bytes <= extreme.bytes,
                    point.bytes.saturating_sub(extreme.bytes),
                )
            };
            if onward {
                extreme = *point;
            } else if back >= least.max(1) {
                if rising {
                    swings.peaks.push(extreme);
                } else {
                    swings.troughs.push(extreme);
                }
                (rising, extreme) = (!rising, *point);
            }
        }
        swings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_far_turns_count() {
        let check = |bytes: &[u64], peaks: &[u64], troughs: &[u64]| {
            let points: Vec<Point> = bytes
                .iter()
                .map(|&bytes| Point { at_ms: 0, bytes })
                .collect();
            let swings = Swings::find(&points, 10);
            let bytes = |turns: &[Point]| turns.iter().map(|turn| turn.bytes).collect::<Vec<_>>();
            assert_eq!(
                (bytes(&swings.peaks), bytes(&swings.troughs)),
                (peaks.to_vec(), troughs.to_vec())
            );
        };
        check(&[], &[], &[]);
        check(&[10, 20, 30], &[], &[]);
        check(&[10, 30, 25, 32, 23, 40], &[], &[]);
        check(&[10, 30, 15, 12, 25, 40, 20], &[30, 40], &[12]);
        // The last fall is not over yet.
        check(&[30, 10, 12], &[30], &[]);
    }
}
