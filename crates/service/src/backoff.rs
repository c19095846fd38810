//! The wait before the next attempt. Pure: chance is an argument.

use std::time::Duration;

/// Doubles from its first wait to [`LONGEST`]. Each wait is drawn from its upper half, so that
/// programs do not retry at the same moment.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    attempts: u32,
}

const LONGEST: Duration = Duration::from_secs(30);

// === impl Backoff ===

impl Backoff {
    /// `first` is the longest of the first waits.
    pub fn starting_at(first: Duration) -> Self {
        Self { first, attempts: 0 }
    }

    /// `chance` is from 0 to 1.
    pub fn next_wait(&mut self, chance: f64) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.attempts.min(16));
        self.attempts = self.attempts.saturating_add(1);
        doubled
            .min(LONGEST)
            .mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    }

    /// Waits since the start or the last reset.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// After an attempt that did not fail.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::starting_at(Duration::from_millis(250))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_start_anew_after_a_reset() {
        let mut backoff = Backoff::default();
        let longest: Vec<u128> = (0..9).map(|_| backoff.next_wait(1.0).as_millis()).collect();
        assert_eq!(
            longest,
            [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]
        );
        backoff.reset();
        assert_eq!(backoff.next_wait(0.0), Duration::from_millis(125));
    }
}
