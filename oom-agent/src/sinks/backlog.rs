//! Jobs that wait to be written, with their retries. Pure: time and chance are arguments.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use service::backoff::Backoff;

/// The most waiting jobs.
const ROOM: usize = 256;

/// An Event that could not be written for this long is given up: the API server deletes Events after an hour.
pub(super) const AGE: Duration = Duration::from_mins(15);

/// The longest `Retry-After` that is obeyed.
const LONGEST: Duration = Duration::from_mins(2);

/// Jobs in the order of arrival, each with its own retries, and one pause for all while the server is away.
#[derive(Debug)]
pub(super) struct Backlog<T> {
    waiting: VecDeque<Entry<T>>,
    server: Backoff,
    paused: Option<Instant>,
}

/// A job that waits.
#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) job: T,
    born: Instant,
    due: Instant,
    backoff: Backoff,
    /// It has failed before.
    known: bool,
}

/// Why a job has to wait once more.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Setback {
    /// The server is away: every other job would fail, too.
    pub(super) servers: bool,
    /// The server's `Retry-After`.
    pub(super) retry_after: Option<Duration>,
}

// === impl Backlog ===

impl<T> Default for Backlog<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            server: Backoff::default(),
            paused: None,
        }
    }
}

impl<T> Backlog<T> {
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < ROOM
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn push(&mut self, job: T, now: Instant, due: Instant) {
        self.waiting.push_back(Entry::new(job, now, due));
    }

    /// When the next job is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let due = self.waiting.iter().map(|entry| entry.due).min()?;
        Some(due).max(self.paused)
    }

    /// Removes the oldest job that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Entry<T>> {
        if self.paused.is_some_and(|paused| now < paused) {
            return None;
        }
        let at = self.waiting.iter().position(|entry| entry.due <= now)?;
        self.waiting.remove(at)
    }

    /// Removes the job with the least key.
    pub(super) fn remove_first_by<K: Ord>(&mut self, key: impl Fn(&T) -> K) -> Option<Entry<T>> {
        let entries = self.waiting.iter().enumerate();
        let (at, _) = entries.min_by_key(|(_, entry)| key(&entry.job))?;
        self.waiting.remove(at)
    }

    /// Removes all jobs for which `keep` is false.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.waiting.retain(|entry| keep(&entry.job));
    }

    /// The server has answered: the pause ends.
    pub(super) fn end_pause(&mut self) {
        self.server.reset();
        self.paused = None;
    }

    /// Whether the setback was not logged yet: once for a job, and once for all while the server is away.
    pub(super) fn is_first(&self, entry: &Entry<T>, setback: Setback) -> bool {
        if setback.servers {
            self.server.attempts() == 0
        } else {
            !entry.known
        }
    }

    /// Puts a job back. Returns how long it waits, or `Err` with the job when it has waited too long.
    pub(super) fn put_back(
        &mut self,
        mut entry: Entry<T>,
        setback: Setback,
        now: Instant,
        chance: f64,
    ) -> Result<Duration, T> {
        let least = setback.retry_after.unwrap_or_default().min(LONGEST);
        if setback.servers {
            let wait = self.server.next_wait(chance).max(least);
            self.paused = Some(now + wait);
        }
        if entry.age(now) >= AGE {
            return Err(entry.job);
        }
        // While the server is away, one wait is enough.
        let wait = if setback.servers {
            Duration::ZERO
        } else {
            entry.backoff.next_wait(chance).max(least)
        };
        entry.due = now + wait;
        entry.known = true;
        let due = entry.due.max(self.paused.unwrap_or(entry.due));
        self.waiting.push_back(entry);
        Ok(due.saturating_duration_since(now))
    }

    /// Makes every job due: the agent ends.
    pub(super) fn make_all_due(&mut self, now: Instant) {
        self.paused = None;
        for entry in &mut self.waiting {
            entry.due = entry.due.min(now);
        }
    }
}

// === impl Entry ===

impl<T> Entry<T> {
    pub(super) fn new(job: T, now: Instant, due: Instant) -> Self {
        Self {
            job,
            born: now,
            due,
            backoff: Backoff::default(),
            known: false,
        }
    }

    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.born)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SERVERS: Setback = Setback {
        servers: true,
        retry_after: None,
    };
    const ITS_OWN: Setback = Setback {
        servers: false,
        retry_after: None,
    };

    fn backlog(jobs: &[u32], now: Instant) -> Backlog<u32> {
        let mut backlog = Backlog::default();
        for &job in jobs {
            backlog.push(job, now, now);
        }
        backlog
    }

    #[test]
    fn a_job_that_fails_alone_holds_up_no_other() {
        let now = Instant::now();
        let mut backlog = backlog(&[1, 2], now);
        let first = backlog.pop_due(now).unwrap();
        let wait = backlog.put_back(first, ITS_OWN, now, 1.0).unwrap();
        assert_eq!(wait, Duration::from_millis(250));
        assert_eq!(backlog.pop_due(now).unwrap().job, 2);
        assert!(backlog.pop_due(now).is_none());
        assert_eq!(backlog.next_due(), Some(now + wait));
        assert_eq!(backlog.pop_due(now + wait).unwrap().job, 1);
    }

    #[test]
    fn an_absent_server_gets_one_attempt_at_a_time() {
        let now = Instant::now();
        let mut backlog = backlog(&[1, 2], now);
        let first = backlog.pop_due(now).unwrap();
        assert!(backlog.is_first(&first, SERVERS));
        let wait = backlog.put_back(first, SERVERS, now, 1.0).unwrap();
        assert!(backlog.pop_due(now).is_none());
        let later = now + wait;
        let second = backlog.pop_due(later).unwrap();
        assert_eq!(second.job, 2);
        assert!(!backlog.is_first(&second, SERVERS) && backlog.is_first(&second, ITS_OWN));
        let longer = backlog.put_back(second, SERVERS, later, 1.0).unwrap();
        assert_eq!(longer, wait * 2);
        // It is back: nobody waits any longer.
        let back = later + longer;
        assert!(backlog.pop_due(back).is_some());
        backlog.end_pause();
        assert!(backlog.pop_due(back).is_some());
    }

    #[test]
    fn the_servers_own_wish_is_honoured_within_reason() {
        let now = Instant::now();
        for (retry_after, waits) in [(7, 7), (86_400, LONGEST.as_secs())] {
            for servers in [true, false] {
                let mut backlog = backlog(&[1], now);
                let entry = backlog.pop_due(now).unwrap();
                let setback = Setback {
                    servers,
                    retry_after: Some(Duration::from_secs(retry_after)),
                };
                let wait = backlog.put_back(entry, setback, now, 1.0).unwrap();
                assert_eq!(wait.as_secs(), waits);
                assert_eq!(backlog.next_due(), Some(now + wait));
            }
        }
    }

    #[test]
    fn a_job_is_given_up_when_it_is_old_news() {
        let now = Instant::now();
        let mut backlog = backlog(&[1], now);
        let entry = backlog.pop_due(now).unwrap();
        assert!(backlog.put_back(entry, ITS_OWN, now + AGE, 1.0).is_err());
        assert!(backlog.is_empty());
    }

    #[test]
    fn the_job_with_the_least_key_makes_room() {
        // Neither the first nor the last to come.
        let mut backlog = backlog(&[2, 1, 3], Instant::now());
        assert_eq!(backlog.remove_first_by(|job| *job).unwrap().job, 1);
        assert_eq!(backlog.len(), 2);
    }

    #[test]
    fn all_jobs_can_be_made_due() {
        let now = Instant::now();
        let mut backlog = backlog(&[1], now);
        backlog.push(2, now, now + AGE);
        let entry = backlog.pop_due(now).unwrap();
        backlog.put_back(entry, SERVERS, now, 1.0).unwrap();
        backlog.make_all_due(now);
        assert!(backlog.pop_due(now).is_some() && backlog.pop_due(now).is_some());
    }

    proptest! {
        /// Whatever fails, and in whatever order: no job is lost or doubled, and each ends by its age.
        #[test]
        fn no_job_is_lost(steps in proptest::collection::vec((0_u64..120, any::<bool>(), any::<bool>()), 1..200)) {
            let mut now = Instant::now();
            let mut backlog = backlog(&[0, 1, 2, 3], now);
            let mut done = Vec::new();
            for (step, works, servers) in steps {
                now += Duration::from_secs(step);
                let Some(entry) = backlog.pop_due(now) else { continue };
                if works {
                    backlog.end_pause();
                    done.push(entry.job);
                } else {
                    let setback = Setback { servers, retry_after: None };
                    done.extend(backlog.put_back(entry, setback, now, 0.5).err());
                }
            }
            now += AGE * 2;
            while let Some(next) = backlog.next_due() {
                now = now.max(next);
                let entry = backlog.pop_due(now).unwrap();
                done.extend(backlog.put_back(entry, ITS_OWN, now, 0.5).err());
            }
            done.sort_unstable();
            prop_assert_eq!(done, [0, 1, 2, 3]);
        }
    }
}
