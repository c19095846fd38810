//! Bonks that a bonker has refused for now, and when they are sent again. Pure: time and chance are
//! arguments.

use proto::bonk::Outcome;
use tokio::time::Instant;

use crate::report::Report;
use service::backoff::Backoff;

/// The most kept bonks; for one more the bonk of the oldest kill is dropped.
const ROOM: usize = 256;

/// A bonk that the bonker has not taken yet.
#[derive(Debug)]
pub(super) struct Unacknowledged {
    pub(super) report: Report,
    refusals: Backoff,
    /// The last refusal.
    pub(super) answer: Outcome,
}

#[derive(Debug, Default)]
pub(super) struct RefusedBonks {
    /// When each is due; in no order.
    waiting: Vec<(Instant, Unacknowledged)>,
}

// === impl Unacknowledged ===

impl Unacknowledged {
    pub(super) fn new(report: Report) -> Self {
        Self {
            report,
            refusals: Backoff::default(),
            answer: Outcome::Unspecified,
        }
    }
}

// === impl RefusedBonks ===

impl RefusedBonks {
    /// Keeps a bonk that was refused at `now`, the longer the more often. Returns the one dropped for it, if
    /// there are too many. `chance` is from 0 to 1.
    pub(super) fn push(
        &mut self,
        mut refused: Unacknowledged,
        now: Instant,
        chance: f64,
    ) -> Option<Unacknowledged> {
        let due = now + refused.refusals.next_wait(chance);
        self.waiting.push((due, refused));
        if self.waiting.len() <= ROOM {
            return None;
        }
        self.remove_first_by(|(_, bonk)| bonk.report.stamp_ns())
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.iter().map(|(due, _)| *due).min()
    }

    /// Removes the bonk that was due first, if it is due at `now`.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Unacknowledged> {
        if self.next_due()? > now {
            return None;
        }
        self.remove_first_by(|(due, _)| *due)
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&Unacknowledged) -> bool) {
        self.waiting.retain(|(_, bonk)| keep(bonk));
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn remove_first_by<K: Ord>(
        &mut self,
        key: impl Fn(&(Instant, Unacknowledged)) -> K,
    ) -> Option<Unacknowledged> {
        let all = self.waiting.iter().enumerate();
        let (first, _) = all.min_by_key(|(_, waiting)| key(waiting))?;
        Some(self.waiting.swap_remove(first).1)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::sinks::tests::incident;

    fn bonk(n: u32) -> Unacknowledged {
        Unacknowledged::new(Report::Incident(incident(n)))
    }

    #[test]
    fn each_is_due_after_a_wait_of_its_own_that_doubles() {
        let (start, mut kept) = (Instant::now(), RefusedBonks::default());
        let ms = |ms| start + Duration::from_millis(ms);
        assert!(kept.push(bonk(1), start, 1.0).is_none());
        assert!(kept.push(bonk(2), start, 0.0).is_none());
        assert_eq!(kept.next_due(), Some(ms(125)));
        assert!(kept.pop_due(ms(124)).is_none());
        let second = kept.pop_due(ms(1000)).unwrap();
        assert_eq!(second.report.id(), incident(2).id);
        assert!(kept.push(second, ms(1000), 1.0).is_none());
        let first = kept.pop_due(ms(1000)).unwrap();
        assert_eq!(first.report.id(), incident(1).id);
        assert_eq!(kept.next_due(), Some(ms(1500)), "twice as long as at first");
    }

    #[test]
    fn the_bonk_of_the_oldest_kill_is_dropped_for_one_too_many() {
        let (now, mut kept) = (Instant::now(), RefusedBonks::default());
        let kills: Vec<_> = (0..=256).map(incident).collect();
        let mut out = Vec::new();
        // Neither the first nor the last to come.
        for kill in kills[1..].iter().chain(&kills[..1]) {
            out.extend(kept.push(
                Unacknowledged::new(Report::Incident(Arc::clone(kill))),
                now,
                0.5,
            ));
        }
        let out: Vec<_> = out.iter().map(|bonk| bonk.report.id()).collect();
        assert_eq!(out, [kills[0].id.as_str()]);
        assert_eq!(kept.len(), 256);
    }
}
