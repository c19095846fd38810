//! Limits the Events on one object. Pure: time is an argument.

use std::time::{Duration, Instant};

/// Events on one object at once: the burst of client-go's spam filter.
pub(super) const BURST: u32 = 25;

/// One token per this time.
pub(super) const REFILL: Duration = Duration::from_mins(5);

/// Warnings of one level on one container.
pub(super) const WARNINGS: u32 = 3;

/// Mismatches of one container, and bad annotations of one pod: the first Event counts all others.
pub(super) const ONCE: u32 = 1;

/// A token bucket: some tokens, one more every [`REFILL`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    /// When it will be full; `None` is full now.
    full_at: Option<Instant>,
}

// === impl Bucket ===

impl Bucket {
    /// False where all `burst` tokens are taken.
    pub(super) fn take_token(&mut self, burst: u32, now: Instant) -> bool {
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
            assert!(bucket.take_token(BURST, start));
        }
        let second = Duration::from_secs(1);
        assert!(!bucket.take_token(BURST, start));
        assert!(!bucket.take_token(BURST, start + REFILL.saturating_sub(second)));
        assert!(bucket.take_token(BURST, start + REFILL));
        assert!(!bucket.take_token(BURST, start + REFILL + second));
        let rested = start + REFILL * 100;
        assert_eq!(
            (0..100)
                .filter(|_| bucket.take_token(BURST, rested))
                .count(),
            25
        );
    }

    proptest! {
        /// In any interval no more pass than the burst and the refills in it.
        #[test]
        fn never_more_than_the_burst_and_the_refills(
            steps in proptest::collection::vec(0_u64..400, 1..200),
        ) {
            let (mut bucket, mut now) = (Bucket::default(), Instant::now());
            let mut passed = Vec::new();
            for step in steps {
                now += Duration::from_secs(step);
                if bucket.take_token(BURST, now) {
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
