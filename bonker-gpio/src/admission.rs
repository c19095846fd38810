//! Decides what becomes of each item, and when the arm swings for it. Pure.

mod answer;
mod coalesce_key;
mod filter;
mod moment;
mod queue;
mod quiet;
mod rate;
mod settings;

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use jiff::Timestamp;
use lru::LruCache;

pub use answer::Outcome;
pub(crate) use answer::{Answer, Tally};
pub(crate) use moment::Moment;
pub(crate) use queue::Job;
use queue::Queue;
pub use rate::PeerRate;
use rate::Rates;
pub(crate) use settings::MAX_SNOOZE;
pub use settings::Settings;

use crate::bonk::{Bonk, Malformed};
use crate::history::Restored;

/// Ids whose outcomes are known; the oldest is dropped first.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

#[derive(Debug)]
pub(crate) struct Admission {
    settings: Settings,
    queue: Queue,
    /// The outcomes of recent ids.
    decided: LruCache<String, Outcome>,
    rates: Rates,
    tally: Tally,
    snoozed: Option<Timestamp>,
    /// Id of the item that the arm has, until its swing is recorded.
    in_hand: Option<String>,
    swinging: bool,
    /// End of the pause after a swing.
    ready: Duration,
    stopping: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Swing(Box<Job>),
    /// By the monotonic clock.
    WaitUntil(Duration),
    /// Nothing before another item is submitted.
    Idle,
}

// === impl Admission ===

impl Admission {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            queue: Queue::new(settings.queue, settings.window),
            decided: LruCache::new(REMEMBERED),
            rates: Rates::new(settings.peer_rate),
            tally: Tally::default(),
            snoozed: None,
            in_hand: None,
            swinging: false,
            ready: Duration::ZERO,
            stopping: false,
            settings,
        }
    }

    pub(crate) fn restore(&mut self, restored: Restored) {
        for (id, outcome) in restored.answers {
            // An unknown outcome comes from a later version.
            if let Ok(outcome) = outcome.parse() {
                self.decided.put(id, outcome);
            }
        }
        self.snoozed = restored.snoozed;
    }

    /// Answers an item. The checks, of which the first that applies answers: malformed
    /// (REJECTED), known id (DUPLICATE), shutting down (REJECTED), the peer's rate
    /// (`RATE_LIMITED`), denied (REJECTED), too old (EXPIRED), below the severity floor,
    /// snoozed or in quiet hours (QUIET), same container as a waiting job or a recent swing
    /// (COALESCED), queue full (FULL), and otherwise ACCEPTED.
    pub(crate) fn submit(
        &mut self,
        item: Result<Bonk, Malformed>,
        peer: Option<IpAddr>,
        now: Moment,
    ) -> Answer {
        let id = item.as_ref().ok().map(|bonk| bonk.id.clone());
        let answer = self.decide(item, peer, now);
        self.tally.add(answer.outcome);
        if let Some(id) = id.filter(|_| answer.outcome.is_final()) {
            self.decided.put(id, answer.outcome);
        }
        answer
    }

    fn decide(
        &mut self,
        item: Result<Bonk, Malformed>,
        peer: Option<IpAddr>,
        now: Moment,
    ) -> Answer {
        use Outcome::{Accepted, Coalesced, Expired, Full, Quiet, RateLimited, Rejected};
        let bonk = match item {
            Ok(bonk) => bonk,
            Err(why) => return Answer::because(Rejected, why.to_string()),
        };
        if let Some(first) = self.decided.peek(&bonk.id) {
            return Answer::duplicate(*first);
        }
        if self.stopping {
            return Answer::because(Rejected, "the server is shutting down");
        }
        if peer.is_some_and(|peer| !self.rates.try_take(peer, now.up)) {
            let most = self.settings.peer_rate.per_minute;
            let why = format!("a peer may send {most} items a minute (--peer-rate): send it later");
            return Answer::because(RateLimited, why);
        }
        if let Some(why) = self.settings.filter.denies(&bonk) {
            return Answer::because(Rejected, why);
        }
        let Some(left) = self.freshness(&bonk, now) else {
            return Answer::plain(Expired);
        };
        if bonk.severity < self.settings.min_severity {
            return Answer::because(Quiet, "below the severity floor (--min-severity)");
        }
        if let Some(why) = self.quiet(now) {
            return Answer::because(Quiet, why);
        }
        let expires = now.up.saturating_add(left);
        let Some(bonk) = self.queue.coalesce(bonk, expires, now) else {
            return Answer::plain(Coalesced);
        };
        if self.queue.len() >= self.queue.capacity() {
            self.tally.expired_waiting += self.queue.drop_expired(now);
        }
        if self.queue.push(bonk, expires) {
            Answer::plain(Accepted)
        } else {
            let most = self.queue.capacity();
            Answer::because(Full, format!("{most} bonks wait for the servo already"))
        }
    }

    /// Time until `bonk` expires. A cause in the future, or without a time, counts as of now:
    /// either clock may be wrong.
    fn freshness(&self, bonk: &Bonk, now: Moment) -> Option<Duration> {
        let age = bonk.time.map(|time| now.wall.duration_since(time));
        let age = age.and_then(|age| Duration::try_from(age).ok());
        let left = self.settings.expire.checked_sub(age.unwrap_or_default())?;
        (!left.is_zero()).then_some(left)
    }

    /// Why nothing swings now.
    fn quiet(&self, now: Moment) -> Option<String> {
        if let Some(until) = self.snoozed_until(now) {
            return Some(format!("snoozed until {until:.0}"));
        }
        let until = self.settings.quiet.end(now.wall)?;
        Some(format!("quiet hours (--quiet-hours) until {until:.0}"))
    }

    /// What the arm does now. Jobs that expired, or whose turn comes in quiet hours, are dropped
    /// and counted.
    pub(crate) fn next(&mut self, now: Moment) -> Next {
        if self.swinging || self.queue.len() == 0 {
            return Next::Idle;
        }
        if now.up < self.ready {
            return Next::WaitUntil(self.ready);
        }
        while let Some(job) = self.queue.pop() {
            if job.expires <= now.up {
                self.tally.expired_waiting += job.items();
            } else if self.quiet(now).is_some() {
                self.tally.quiet_waiting += job.items();
            } else {
                self.queue.start_window(&job, now);
                self.in_hand = Some(job.accepted.clone());
                self.swinging = true;
                return Next::Swing(Box::new(job));
            }
        }
        Next::Idle
    }

    /// The history has the swing of the job in hand.
    pub(crate) fn swing_recorded(&mut self) {
        self.in_hand = None;
    }

    /// Whether the arm has still to swing for an item that was ACCEPTED.
    pub(crate) fn is_pending(&self, id: &str) -> bool {
        self.in_hand.as_deref() == Some(id) || self.queue.contains(id)
    }

    /// Whether an item that is not coalesced would be ACCEPTED.
    pub(crate) fn has_room(&self) -> bool {
        !self.stopping && self.queue.len() < self.queue.capacity()
    }

    pub(crate) fn finish_swing(&mut self, now: Moment) {
        self.in_hand = None;
        self.swinging = false;
        self.ready = now.up.saturating_add(self.settings.cooldown);
    }

    /// Pauses all swings for `span`, at most [`MAX_SNOOZE`]; zero ends the pause. Returns its
    /// end.
    pub(crate) fn snooze(&mut self, span: Duration, now: Moment) -> Option<Timestamp> {
        let span = span.min(MAX_SNOOZE);
        self.snoozed = (!span.is_zero())
            .then(|| now.wall.checked_add(span).ok())
            .flatten();
        self.snoozed
    }

    /// End of the snooze. One that is further off than [`MAX_SNOOZE`] comes from a clock that
    /// was set back, and is ignored.
    pub(crate) fn snoozed_until(&self, now: Moment) -> Option<Timestamp> {
        let until = self.snoozed?;
        let left = Duration::try_from(until.duration_since(now.wall)).ok()?;
        (!left.is_zero() && left <= MAX_SNOOZE).then_some(until)
    }

    /// Rejects all further items and drops those that wait; returns their number.
    pub(crate) fn stop(&mut self) -> u64 {
        self.stopping = true;
        self.queue.clear()
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    pub(crate) fn queue_length(&self) -> usize {
        self.queue.len()
    }

    #[cfg(test)]
    pub(crate) fn queue_items(&self) -> u64 {
        self.queue.items()
    }

    pub(crate) fn queue_capacity(&self) -> usize {
        self.queue.capacity()
    }
}

#[cfg(test)]
mod tests;
