//! The turns of a series: where it had risen far, and where it had fallen as far.

use super::Sample;

/// Turns that are confirmed, each in order of time.
#[derive(Debug, Default)]
pub(super) struct Swings {
    pub(super) peaks: Vec<Sample>,
    pub(super) troughs: Vec<Sample>,
}

// === impl Swings ===

impl Swings {
    /// Each turn is `least` bytes from the one before and the one after it.
    pub(super) fn of(samples: &[Sample], least: u64) -> Self {
        let mut swings = Self::default();
        let Some(first) = samples.first() else {
            return swings;
        };
        let (mut rising, mut extreme) = (true, *first);
        for sample in samples {
            let (onward, back) = if rising {
                (
                    sample.bytes >= extreme.bytes,
                    extreme.bytes.saturating_sub(sample.bytes),
                )
            } else {
                (
                    sample.bytes <= extreme.bytes,
                    sample.bytes.saturating_sub(extreme.bytes),
                )
            };
            if onward {
                extreme = *sample;
            } else if back >= least.max(1) {
                if rising {
                    swings.peaks.push(extreme);
                } else {
                    swings.troughs.push(extreme);
                }
                (rising, extreme) = (!rising, *sample);
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
            let samples: Vec<Sample> = bytes
                .iter()
                .map(|&bytes| Sample { at_ms: 0, bytes })
                .collect();
            let swings = Swings::of(&samples, 10);
            let bytes = |turns: &[Sample]| turns.iter().map(|turn| turn.bytes).collect::<Vec<_>>();
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
