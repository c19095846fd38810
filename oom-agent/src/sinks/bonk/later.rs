//! What a bonker has no room for now, and when it is asked again. Pure: time and chance are arguments.

use proto::bonk::Outcome;
use tokio::time::Instant;

use crate::report::Report;
use crate::sinks::backoff::Backoff;

/// That many wait to be said again; the one of the oldest kill goes for one more.
const LATER: usize = 256;

/// A bonk that the bonker has not taken yet.
#[derive(Debug)]
pub(super) struct Unacknowledged {
    pub(super) report: Report,
    /// How often it was refused so far.
    refusals: Backoff,
    /// The last refusal.
    pub(super) answer: Outcome,
}

/// Those that were refused for now.
#[derive(Debug, Default)]
pub(super) struct Later {
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

// === impl Later ===

impl Later {
    /// It was refused at `now`: keeps it for a while, the longer the more often that was so. Gives
    /// the one that has to go for it, if there are too many. `chance` is from 0 to 1.
    pub(super) fn push(
        &mut self,
        mut refused: Unacknowledged,
        now: Instant,
        chance: f64,
    ) -> Option<Unacknowledged> {
        let due = now + refused.refusals.next(chance);
        self.waiting.push((due, refused));
        if self.waiting.len() <= LATER {
            return None;
        }
        self.take_first_by(|(_, bonk)| bonk.report.stamp_ns())
    }

    /// When the next one is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.iter().map(|(due, _)| *due).min()
    }

    /// The one that was due first, if it is at `now`.
    pub(super) fn take(&mut self, now: Instant) -> Option<Unacknowledged> {
        if self.due()? > now {
            return None;
        }
        self.take_first_by(|(due, _)| *due)
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

    fn take_first_by<K: Ord>(
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
        let (start, mut later) = (Instant::now(), Later::default());
        let ms = |ms| start + Duration::from_millis(ms);
        assert!(later.push(bonk(1), start, 1.0).is_none());
        assert!(later.push(bonk(2), start, 0.0).is_none());
        assert_eq!(later.due(), Some(ms(125)));
        assert!(later.take(ms(124)).is_none());
        let second = later.take(ms(1000)).unwrap();
        assert_eq!(second.report.id(), incident(2).id);
        assert!(later.push(second, ms(1000), 1.0).is_none());
        let first = later.take(ms(1000)).unwrap();
        assert_eq!(first.report.id(), incident(1).id);
        assert_eq!(later.due(), Some(ms(1500)), "twice as long as at first");
    }

    #[test]
    fn of_too_many_the_one_of_the_oldest_kill_goes() {
        let (now, mut later) = (Instant::now(), Later::default());
        let kills: Vec<_> = (0..=256).map(incident).collect();
        let mut out = Vec::new();
        // Neither the first nor the last to come.
        for kill in kills[1..].iter().chain(&kills[..1]) {
            out.extend(later.push(
                Unacknowledged::new(Report::Incident(Arc::clone(kill))),
                now,
                0.5,
            ));
        }
        let out: Vec<_> = out.iter().map(|bonk| bonk.report.id()).collect();
        assert_eq!(out, [kills[0].id.as_str()]);
        assert_eq!(later.len(), 256);
    }
}
