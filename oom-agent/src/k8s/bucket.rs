//! How many Events an object may have. Pure: time is an argument.

use std::time::{Duration, Instant};

/// Events that may come at once. client-go's spam filter has the same, per source and object.
pub(super) const BURST: u32 = 25;

/// Then one in this time.
pub(super) const REFILL: Duration = Duration::from_mins(5);

/// Of warnings of one level on one container.
pub(super) const WARNINGS: u32 = 3;

/// Of verdicts on one container, and complaints about one pod: the first says all, the others are counted on it.
pub(super) const ONCE: u32 = 1;

/// A token bucket: some tokens, one more every [`REFILL`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    /// When it is full again; `None` is full.
    full_at: Option<Instant>,
}

// === impl Bucket ===

impl Bucket {
    /// Takes a token, if there is one of `burst`.
    pub(super) fn take(&mut self, burst: u32, now: Instant) -> bool {
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now));
        if full_at.saturating_duration_since(now) > REFILL * burst.saturating_sub(1) {
            return false;
        }
        self.full_at = Some(full_at + REFILL);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_passes_then_one_for_each_refill() {
        let (mut bucket, start) = (Bucket::default(), Instant::now());
        for _ in 0..BURST {
            assert!(bucket.take(BURST, start));
        }
        let second = Duration::from_secs(1);
        assert!(!bucket.take(BURST, start));
        assert!(!bucket.take(BURST, start + REFILL.saturating_sub(second)));
        assert!(bucket.take(BURST, start + REFILL));
        assert!(!bucket.take(BURST, start + REFILL + second));
        let rested = start + REFILL * 100;
        assert_eq!((0..100).filter(|_| bucket.take(BURST, rested)).count(), 25);
    }

    proptest! {
        /// In no stretch of time do more pass than the burst and what was refilled meanwhile.
        #[test]
        fn never_more_than_the_burst_and_the_refills(
            steps in proptest::collection::vec(0_u64..400, 1..200),
        ) {
            let (mut bucket, mut now) = (Bucket::default(), Instant::now());
            let mut passed = Vec::new();
            for step in steps {
                now += Duration::from_secs(step);
                if bucket.take(BURST, now) {
                    passed.push(now);
                }
            }
            for (n, &from) in passed.iter().enumerate() {
                for (m, &to) in passed.iter().enumerate().skip(n) {
                    let refilled = (to - from).as_secs() / REFILL.as_secs();
                    prop_assert!((m - n + 1) as u64 <= u64::from(BURST) + refilled);
                }
            }
        }
    }
}
