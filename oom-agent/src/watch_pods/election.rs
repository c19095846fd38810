//! Which of several controllers acts: a Lease, held as client-go's leader election holds it. Pure.
//!
//! Nobody trusts another's clock: a lease has expired when this one has seen it unchanged for its duration.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::k8s::Lease;

/// What a lease holds without a renewal.
pub(super) const DURATION: Duration = Duration::from_secs(15);

/// A holder that could not renew for this long stops: before anybody else can take it.
const DEADLINE: Duration = Duration::from_secs(10);

/// Holder and others look this often, less up to a fifth.
const EVERY: Duration = Duration::from_secs(5);

/// After a failure.
const AGAIN: Duration = Duration::from_secs(2);

/// A lease of another's making holds no longer than this.
const LONGEST: Duration = Duration::from_mins(5);

/// One candidate's view.
#[derive(Debug)]
pub(super) struct Election {
    me: String,
    /// A version of somebody else's lease, since when it stands, and how long it holds.
    other: Option<(String, Instant, Duration)>,
    until: Option<Instant>,
    failed: bool,
}

// === impl Election ===

impl Election {
    /// `me` is nobody else's.
    pub(super) fn new(me: String) -> Self {
        Self {
            me,
            other: None,
            until: None,
            failed: false,
        }
    }

    /// The lease as it stands at `now`, `None` where there is none. Gives what is to be written.
    pub(super) fn look(
        &mut self,
        lease: Option<&Lease>,
        now: Instant,
        wall: Timestamp,
    ) -> Option<Lease> {
        self.failed = false;
        let Some(lease) = lease else {
            return Some(self.taken(&Lease::default(), wall));
        };
        if lease.holder == self.me {
            return Some(Lease {
                renewed: Some(wall),
                duration: DURATION,
                ..lease.clone()
            });
        }
        // Whoever it is, it is not this one.
        self.until = None;
        if lease.holder.is_empty() {
            return Some(self.taken(lease, wall));
        }
        match &self.other {
            Some((version, since, duration)) if *version == lease.version => {
                (now >= *since + *duration).then(|| self.taken(lease, wall))
            }
            _ => {
                let duration = lease.duration.min(LONGEST);
                self.other = Some((lease.version.clone(), now, duration));
                None
            }
        }
    }

    /// What was to be written at `sent` stands, or somebody else was faster.
    pub(super) fn wrote(&mut self, stored: bool, sent: Instant) {
        if stored {
            self.until = Some(sent + DEADLINE);
            self.other = None;
        } else {
            self.failed = true;
        }
    }

    /// The server could not be asked.
    pub(super) fn failed(&mut self) {
        self.failed = true;
    }

    /// Until when this one may act, unless it renews.
    pub(super) fn leads_until(&self) -> Option<Instant> {
        self.until
    }

    /// How long until the next look; `chance` is from 0 to 1.
    pub(super) fn pause(&self, now: Instant, chance: f64) -> Duration {
        let pause = if self.failed { AGAIN } else { EVERY };
        let pause = pause.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 5.0);
        match &self.other {
            Some((_, since, duration)) => pause.min(
                (*since + *duration)
                    .saturating_duration_since(now)
                    .max(AGAIN / 2),
            ),
            None => pause,
        }
    }

    /// What is to be written over `lease` so that the next need not wait.
    pub(super) fn released(&self, lease: &Lease, wall: Timestamp) -> Option<Lease> {
        (lease.holder == self.me).then(|| Lease {
            holder: String::new(),
            duration: Duration::from_secs(1),
            renewed: Some(wall),
            ..lease.clone()
        })
    }

    fn taken(&self, from: &Lease, wall: Timestamp) -> Lease {
        let first = from.version.is_empty();
        Lease {
            holder: self.me.clone(),
            duration: DURATION,
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

    /// An API server: what was written over the version that stands, stands.
    #[derive(Default)]
    struct Store {
        lease: Option<Lease>,
        version: u64,
    }

    impl Store {
        fn write(&mut self, mut lease: Lease) -> bool {
            let stands = self.lease.as_ref().map_or("", |lease| &lease.version);
            if lease.version != stands {
                return false;
            }
            self.version += 1;
            lease.version = self.version.to_string();
            self.lease = Some(lease);
            true
        }
    }

    fn turn(one: &mut Election, store: &mut Store, now: Instant) {
        if let Some(lease) = one.look(store.lease.as_ref(), now, wall()) {
            let stored = store.write(lease);
            one.wrote(stored, now);
        }
    }

    fn leads(one: &Election, now: Instant) -> bool {
        one.leads_until().is_some_and(|until| now < until)
    }

    #[test]
    fn the_first_leads_until_it_stops_renewing_and_a_while_later_the_second() {
        let (mut a, mut b) = (Election::new("a".into()), Election::new("b".into()));
        let (mut store, start) = (Store::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        turn(&mut a, &mut store, at(0));
        turn(&mut b, &mut store, at(1));
        assert!(leads(&a, at(1)) && !leads(&b, at(1)));
        turn(&mut a, &mut store, at(5));
        turn(&mut b, &mut store, at(6));
        assert!(!leads(&a, at(15)), "it could not renew");
        turn(&mut b, &mut store, at(20));
        assert!(!leads(&b, at(20)), "not yet unchanged for 15 s");
        turn(&mut b, &mut store, at(21));
        assert!(leads(&b, at(21)));
        assert_eq!(store.lease.as_ref().unwrap().transitions, 1);
        turn(&mut a, &mut store, at(22));
        assert!(!leads(&a, at(22)));
    }

    #[test]
    fn a_released_lease_is_taken_at_once() {
        let (mut a, mut b) = (Election::new("a".into()), Election::new("b".into()));
        let (mut store, now) = (Store::default(), Instant::now());
        turn(&mut a, &mut store, now);
        let released = a.released(store.lease.as_ref().unwrap(), wall()).unwrap();
        assert!(store.write(released));
        assert_eq!(b.released(store.lease.as_ref().unwrap(), wall()), None);
        turn(&mut b, &mut store, now);
        assert!(leads(&b, now));
    }

    #[test]
    fn whoever_sees_another_in_its_place_stops_at_once() {
        let mut one = Election::new("a".into());
        let (mut store, now) = (Store::default(), Instant::now());
        turn(&mut one, &mut store, now);
        let by_hand = Lease {
            holder: "b".into(),
            version: "9".into(),
            duration: DURATION,
            ..Lease::default()
        };
        assert_eq!(one.look(Some(&by_hand), now, wall()), None);
        assert!(!leads(&one, now));
    }

    #[test]
    fn a_failure_is_followed_up_sooner_and_a_lease_that_expires_at_once() {
        let (mut one, now) = (Election::new("a".into()), Instant::now());
        assert_eq!(one.pause(now, 0.0), EVERY);
        assert_eq!(one.pause(now, 1.0), Duration::from_secs(4));
        one.failed();
        assert_eq!(one.pause(now, 0.0), AGAIN);
        let other = Lease {
            holder: "b".into(),
            duration: DURATION,
            version: "7".into(),
            ..Lease::default()
        };
        assert_eq!(one.look(Some(&other), now, wall()), None);
        let late = now + Duration::from_secs(12);
        assert_eq!(one.pause(late, 0.0), Duration::from_secs(3));
    }

    proptest! {
        /// Whoever comes when, and whatever gets lost: never two at once.
        #[test]
        fn at_most_one_leads(steps in prop::collection::vec((0..3_usize, 0..8_000_u64, 0..6_u8), 1..200)) {
            let mut all = ["a", "b", "c"].map(|name| Election::new(name.into()));
            let (mut store, mut now) = (Store::default(), Instant::now());
            for (who, pause, fate) in steps {
                now += Duration::from_millis(pause);
                let one = &mut all[who];
                match fate {
                    // Its answer is lost: it stands, and the holder does not know.
                    0 => if let Some(lease) = one.look(store.lease.as_ref(), now, wall()) {
                        store.write(lease);
                        one.failed();
                    },
                    1 => one.failed(),
                    _ => turn(one, &mut store, now),
                }
                let leading = all.iter().filter(|one| leads(one, now)).count();
                prop_assert!(leading <= 1, "{leading} lead");
            }
        }
    }
}
