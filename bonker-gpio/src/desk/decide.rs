//! Pure: an item becomes an answer, and perhaps a job.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;

use super::answer::{Answer, Outcome, Tally};
use super::memory::Memory;
use super::moment::Moment;
use super::queue::{Job, Queue};
use super::rate::Rates;
use super::settings::{MAX_SNOOZE, Settings};
use crate::bonk::{Bonk, Malformed};
use crate::history::Kept;

/// Every decision, and all it takes to make them.
#[derive(Debug)]
pub(super) struct Desk {
    settings: Settings,
    queue: Queue,
    memory: Memory,
    rates: Rates,
    tally: Tally,
    snoozed: Option<Timestamp>,
    /// Id of the item that the arm was given, and nobody was told of yet.
    in_hand: Option<String>,
    /// The arm is under way, and asks again when it is back.
    swinging: bool,
    /// Before that the arm cools down.
    ready: Duration,
    stopping: bool,
}

/// What the arm is to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Swing, and say when it is done.
    Swing(Box<Job>),
    /// Ask again then, by the clock that is never set.
    WaitUntil(Duration),
    /// Ask again when something was submitted.
    Idle,
}

// === impl Desk ===

impl Desk {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            queue: Queue::new(settings.queue, settings.window),
            memory: Memory::default(),
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

    /// Knows again what it knew before a restart.
    pub(super) fn restore(&mut self, kept: Kept) {
        for (id, outcome) in kept.answers {
            // One that is not known comes from a later version.
            if let Some(outcome) = Outcome::from_name(&outcome) {
                self.memory.keep(id, outcome);
            }
        }
        self.snoozed = kept.snoozed;
    }

    /// Answers an item. The checks, of which the first that applies answers: malformed
    /// (REJECTED), known id (DUPLICATE), shutting down (REJECTED), the peer's rate
    /// (`RATE_LIMITED`), denied (REJECTED), too old (EXPIRED), below the severity floor,
    /// snoozed or in quiet hours (QUIET), of a place that waits or has just swung
    /// (COALESCED), no room (FULL), and else ACCEPTED.
    pub(super) fn submit(
        &mut self,
        item: Result<Bonk, Malformed>,
        peer: Option<IpAddr>,
        now: Moment,
    ) -> Answer {
        let id = item.as_ref().ok().map(|bonk| bonk.id.clone());
        let answer = self.decide(item, peer, now);
        self.tally.count(answer.outcome);
        if let Some(id) = id.filter(|_| answer.outcome.is_final()) {
            self.memory.keep(id, answer.outcome);
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
        if let Some(first) = self.memory.get(&bonk.id) {
            return Answer::duplicate(first);
        }
        if self.stopping {
            return Answer::because(Rejected, "the server is shutting down");
        }
        if peer.is_some_and(|peer| !self.rates.take(peer, now.up)) {
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

    /// How long `bonk` is still worth a swing. A cause in the future, or at no time, is
    /// taken to have happened now: neither clock is known to be right.
    fn freshness(&self, bonk: &Bonk, now: Moment) -> Option<Duration> {
        let age = bonk.time.map(|time| now.wall.duration_since(time));
        let age = age.and_then(|age| Duration::try_from(age).ok());
        let left = self.settings.expire.checked_sub(age.unwrap_or_default())?;
        (!left.is_zero()).then_some(left)
    }

    /// Why the penguin is left in peace.
    fn quiet(&self, now: Moment) -> Option<String> {
        if let Some(until) = self.snoozed_until(now) {
            return Some(format!("snoozed until {until:.0}"));
        }
        let until = self.settings.quiet.until(now.wall)?;
        Some(format!("quiet hours (--quiet-hours) until {until:.0}"))
    }

    /// What the arm is to do; what got too old meanwhile, or comes into quiet hours, is
    /// dropped and counted.
    pub(super) fn next(&mut self, now: Moment) -> Next {
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
                self.queue.swings(&job, now);
                self.in_hand = Some(job.accepted.clone());
                self.swinging = true;
                return Next::Swing(Box::new(job));
            }
        }
        Next::Idle
    }

    /// The swing for what the arm was given is in the history.
    pub(super) fn told(&mut self) {
        self.in_hand = None;
    }

    /// Whether an item that was ACCEPTED is still to be swung for.
    pub(super) fn waits(&self, id: &str) -> bool {
        self.in_hand.as_deref() == Some(id) || self.queue.has(id)
    }

    /// Whether an item that stands alone would be ACCEPTED.
    pub(super) fn has_room(&self) -> bool {
        !self.stopping && self.queue.len() < self.queue.capacity()
    }

    /// The arm is back at rest.
    pub(super) fn rested(&mut self, now: Moment) {
        self.in_hand = None;
        self.swinging = false;
        self.ready = now.up.saturating_add(self.settings.cooldown);
    }

    /// Leaves the penguin in peace for `span`, at most [`MAX_SNOOZE`]; zero ends it. Until
    /// when it is.
    pub(super) fn snooze(&mut self, span: Duration, now: Moment) -> Option<Timestamp> {
        let span = span.min(MAX_SNOOZE);
        self.snoozed = (!span.is_zero())
            .then(|| now.wall.checked_add(span).ok())
            .flatten();
        self.snoozed
    }

    /// Until when the penguin is left in peace. What is further off than anybody could ask
    /// for comes from a clock that was set back, and does not hold.
    pub(super) fn snoozed_until(&self, now: Moment) -> Option<Timestamp> {
        let until = self.snoozed?;
        let left = Duration::try_from(until.duration_since(now.wall)).ok()?;
        (!left.is_zero() && left <= MAX_SNOOZE).then_some(until)
    }

    /// From now on nothing is accepted, and nothing waits any more; how many items did.
    pub(super) fn stop(&mut self) -> u64 {
        self.stopping = true;
        self.queue.clear()
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    pub(super) fn queue_length(&self) -> usize {
        self.queue.len()
    }

    /// Items that wait, those that were coalesced included.
    #[cfg(test)]
    pub(super) fn queue_items(&self) -> u64 {
        self.queue.items()
    }

    pub(super) fn queue_capacity(&self) -> usize {
        self.queue.capacity()
    }
}
