//! Which of several controllers acts: leader election by a Lease, as client-go does it. Pure.
//!
//! No candidate trusts another's clock: a lease has expired when it has stayed unchanged for its duration here.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::k8s::Lease;

/// How long a lease is valid without a renewal, in seconds.
const SECONDS: u32 = 15;

/// A holder that could not renew for this long stops, before another candidate can take the lease.
const DEADLINE: Duration = Duration::from_secs(10);

/// Between two reads of the lease, less up to a fifth.
const RETRY_PERIOD: Duration = Duration::from_secs(5);

/// The same after a failure.
const FAILURE_PERIOD: Duration = Duration::from_secs(2);

/// A lease that another wrote is valid no longer than this.
const MAX_SECONDS: u32 = 300;

/// One candidate's view of the lease.
#[derive(Debug)]
pub(super) struct Election {
    me: String,
    /// The version of another's lease, when it was first seen, and how long it is valid.
    other: Option<(String, Instant, Duration)>,
    leads_until: Option<Instant>,
    failed: bool,
}

// === impl Election ===

impl Election {
    /// `me` must be unique among the candidates.
    pub(super) fn new(me: String) -> Self {
        Self {
            me,
            other: None,
            leads_until: None,
            failed: false,
        }
    }

    /// Takes the lease as read at `now`, `None` where there is none. Gives the lease to write, if any.
    pub(super) fn next_write(
        &mut self,
        lease: Option<&Lease>,
        now: Instant,
        wall: Timestamp,
    ) -> Option<Lease> {
        self.failed = false;
        let Some(lease) = lease else {
            return Some(self.acquire(&Lease::default(), wall));
        };
        if lease.holder == self.me {
            return Some(Lease {
                renewed: Some(wall),
                seconds: SECONDS,
                ..lease.clone()
            });
        }
        // Another holds it, or no one.
        self.leads_until = None;
        if lease.holder.is_empty() {
            return Some(self.acquire(lease, wall));
        }
        match &self.other {
            Some((version, since, duration)) if *version == lease.version => {
                (now >= *since + *duration).then(|| self.acquire(lease, wall))
            }
            _ => {
                let duration = Duration::from_secs(lease.seconds.min(MAX_SECONDS).into());
                self.other = Some((lease.version.clone(), now, duration));
                None
            }
        }
    }

    /// Records whether the write begun at `sent` was stored; it is not if another was faster.
    pub(super) fn record_write(&mut self, stored: bool, sent: Instant) {
        if stored {
            self.leads_until = Some(sent + DEADLINE);
            self.other = None;
        } else {
            self.failed = true;
        }
    }

    /// Records a request that failed.
    pub(super) fn record_failure(&mut self) {
        self.failed = true;
    }

    /// Until when this candidate may act without a renewal.
    pub(super) fn leads_until(&self) -> Option<Instant> {
        self.leads_until
    }

    /// How long to wait until the next read; `chance` is from 0 to 1.
    pub(super) fn pause(&self, now: Instant, chance: f64) -> Duration {
        let pause = if self.failed {
            FAILURE_PERIOD
        } else {
            RETRY_PERIOD
        };
        let pause = pause.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 5.0);
        match &self.other {
            Some((_, since, duration)) => pause.min(
                (*since + *duration)
                    .saturating_duration_since(now)
                    .max(FAILURE_PERIOD / 2),
            ),
            None => pause,
        }
    }

    /// The lease to write over `lease`, so that the next holder need not wait.
    pub(super) fn release(&self, lease: &Lease, wall: Timestamp) -> Option<Lease> {
        (lease.holder == self.me).then(|| Lease {
            holder: String::new(),
            seconds: 1,
            renewed: Some(wall),
            ..lease.clone()
        })
    }

    fn acquire(&self, from: &Lease, wall: Timestamp) -> Lease {
        let first = from.version.is_empty();
        Lease {
            holder: self.me.clone(),
            seconds: SECONDS,
            acquired: Some(wall),
            renewed: Some(wall),
            transitions: from.transitions.saturating_add(i32::from(!first)),
            version: from.version.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WALL: &str = "2026-11-21T09:00:00Z";

    fn wall() -> Timestamp {
        WALL.parse().unwrap()
    }

    /// Stores a lease as an API server does: only over the version that it has.
    #[derive(Default)]
    struct Store {
        lease: Option<Lease>,
        version: u64,
    }

    impl Store {
        fn write(&mut self, mut lease: Lease) -> bool {
            let current = self.lease.as_ref().map_or("", |lease| &lease.version);
            if lease.version != current {
                return false;
            }
            self.version += 1;
            lease.version = self.version.to_string();
            self.lease = Some(lease);
            true
        }
    }

    fn read_and_write(one: &mut Election, store: &mut Store, now: Instant) {
        if let Some(lease) = one.next_write(store.lease.as_ref(), now, wall()) {
            let stored = store.write(lease);
            one.record_write(stored, now);
        }
    }

    fn leads(one: &Election, now: Instant) -> bool {
        one.leads_until().is_some_and(|until| now < until)
    }

    #[test]
    fn another_candidate_leads_only_after_the_holder_has_stopped_renewing() {
        let (mut a, mut b) = (Election::new("a".into()), Election::new("b".into()));
        let (mut store, start) = (Store::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        read_and_write(&mut a, &mut store, at(0));
        read_and_write(&mut b, &mut store, at(1));
        assert!(leads(&a, at(1)) && !leads(&b, at(1)));
        read_and_write(&mut a, &mut store, at(5));
        read_and_write(&mut b, &mut store, at(6));
        assert!(!leads(&a, at(15)), "it could not renew");
        read_and_write(&mut b, &mut store, at(20));
        assert!(!leads(&b, at(20)), "not yet unchanged for 15 s");
        read_and_write(&mut b, &mut store, at(21));
        assert!(leads(&b, at(21)));
        assert_eq!(store.lease.as_ref().unwrap().transitions, 1);
        read_and_write(&mut a, &mut store, at(22));
        assert!(!leads(&a, at(22)));
    }

    #[test]
    fn a_released_lease_can_be_acquired_at_once() {
        let (mut a, mut b) = (Election::new("a".into()), Election::new("b".into()));
        let (mut store, now) = (Store::default(), Instant::now());
        read_and_write(&mut a, &mut store, now);
        let released = a.release(store.lease.as_ref().unwrap(), wall()).unwrap();
        assert!(store.write(released));
        assert_eq!(b.release(store.lease.as_ref().unwrap(), wall()), None);
        read_and_write(&mut b, &mut store, now);
        assert!(leads(&b, now));
    }

    #[test]
    fn a_holder_that_sees_another_holder_stops_at_once() {
        let mut one = Election::new("a".into());
        let (mut store, now) = (Store::default(), Instant::now());
        read_and_write(&mut one, &mut store, now);
        let by_hand = Lease {
            holder: "b".into(),
            version: "9".into(),
            seconds: SECONDS,
            ..Lease::default()
        };
        assert_eq!(one.next_write(Some(&by_hand), now, wall()), None);
        assert!(!leads(&one, now));
    }

    #[test]
    fn a_failure_and_an_expiring_lease_shorten_the_pause() {
        let (mut one, now) = (Election::new("a".into()), Instant::now());
        assert_eq!(one.pause(now, 0.0), RETRY_PERIOD);
        assert_eq!(one.pause(now, 1.0), Duration::from_secs(4));
        one.record_failure();
        assert_eq!(one.pause(now, 0.0), FAILURE_PERIOD);
        let other = Lease {
            holder: "b".into(),
            seconds: SECONDS,
            version: "7".into(),
            ..Lease::default()
        };
        assert_eq!(one.next_write(Some(&other), now, wall()), None);
        let late = now + Duration::from_secs(12);
        assert_eq!(one.pause(late, 0.0), Duration::from_secs(3));
    }

    proptest! {
        /// In any order of steps, and whichever answers are lost.
        #[test]
        fn at_most_one_leads(steps in prop::collection::vec((0..3_usize, 0..8_000_u64, 0..6_u8), 1..200)) {
            let mut all = ["a", "b", "c"].map(|name| Election::new(name.into()));
            let (mut store, mut now) = (Store::default(), Instant::now());
            for (candidate, pause, fate) in steps {
                now += Duration::from_millis(pause);
                let one = &mut all[candidate];
                match fate {
                    // The answer is lost: the lease is stored, and its holder does not know.
                    0 => if let Some(lease) = one.next_write(store.lease.as_ref(), now, wall()) {
                        store.write(lease);
                        one.record_failure();
                    },
                    1 => one.record_failure(),
                    _ => read_and_write(one, &mut store, now),
                }
                let leading = all.iter().filter(|one| leads(one, now)).count();
                prop_assert!(leading <= 1, "{leading} lead");
            }
        }
    }
}
