//! Which threshold notification is registered next. Pure.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Weak};

/// Notifications that are still to be registered; those of an eventfd that is dropped are dropped with it.
#[derive(Debug, Default)]
pub(super) struct Pending(Vec<Request>);

/// Those of one cgroup.
#[derive(Debug)]
pub(super) struct Request {
    eventfd: Weak<OwnedFd>,
    dir: Arc<Path>,
    /// Thousandths of the limit that were used at the request.
    used: u64,
    /// In bytes, the next one first.
    thresholds: VecDeque<u64>,
}

/// One threshold.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) eventfd: Arc<OwnedFd>,
    pub(super) dir: Arc<Path>,
    /// Bytes.
    pub(super) threshold: u64,
    /// With it all that were requested for that cgroup are registered.
    pub(super) last: bool,
}

// === impl Request ===

impl Request {
    /// `percents` are of the limit. First come those that the usage meets first if it grows,
    /// then those below it from the nearest on.
    pub(super) fn new(
        eventfd: &Arc<OwnedFd>,
        dir: &Path,
        current: u64,
        limit: u64,
        percents: &[u64],
    ) -> Self {
        let part = |of: u64, in_all: u128| {
            let part = u128::from(limit) * u128::from(of) / in_all;
            u64::try_from(part).unwrap_or(u64::MAX)
        };
        let mut thresholds: Vec<u64> = percents.iter().map(|percent| part(*percent, 100)).collect();
        thresholds.sort_by_key(|bytes| (*bytes < current, bytes.abs_diff(current)));
        let used = u128::from(current) * 1000 / u128::from(limit.max(1));
        Self {
            eventfd: Arc::downgrade(eventfd),
            dir: dir.into(),
            used: u64::try_from(used).unwrap_or(u64::MAX),
            thresholds: thresholds.into(),
        }
    }
}

// === impl Pending ===

impl Pending {
    /// Requests of one eventfd are merged: there are no more than of these.
    pub(super) fn add(&mut self, request: Request) {
        self.0.retain(|one| one.eventfd.strong_count() > 0);
        let mut there = self.0.iter_mut();
        match there.find(|one| one.eventfd.ptr_eq(&request.eventfd)) {
            Some(one) => {
                one.used = request.used;
                one.thresholds.extend(request.thresholds);
            }
            None => self.0.push(request),
        }
    }

    /// The next of the cgroup that is nearest to its limit.
    pub(super) fn pop(&mut self) -> Option<Next> {
        loop {
            let nearest = self
                .0
                .iter()
                .enumerate()
                .max_by_key(|(_, request)| request.used);
            let at = nearest.map(|(at, _)| at)?;
            let request = self.0.get_mut(at)?;
            let next = (request.eventfd.upgrade(), request.thresholds.pop_front());
            let dir = Arc::clone(&request.dir);
            let last = request.thresholds.is_empty();
            if last || next.0.is_none() {
                self.0.swap_remove(at);
            }
            if let (Some(eventfd), Some(threshold)) = next {
                return Some(Next {
                    eventfd,
                    dir,
                    threshold,
                    last,
                });
            }
        }
    }

    /// Drops what is pending of that eventfd.
    pub(super) fn forget(&mut self, eventfd: &Arc<OwnedFd>) {
        let eventfd = Arc::downgrade(eventfd);
        self.0.retain(|one| !one.eventfd.ptr_eq(&eventfd));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(eventfd: &Arc<OwnedFd>, name: &str, current: u64, percents: &[u64]) -> Request {
        Request::new(eventfd, Path::new(name), current, 1000, percents)
    }

    fn pop(pending: &mut Pending) -> Option<(String, u64, bool)> {
        let next = pending.pop()?;
        Some((next.dir.display().to_string(), next.threshold, next.last))
    }

    fn eventfds<const N: usize>() -> [Arc<OwnedFd>; N] {
        std::array::from_fn(|_| Arc::new(tempfile::tempfile().unwrap().into()))
    }

    #[test]
    fn what_growth_meets_first_is_registered_first() {
        let (mut pending, [a]) = (Pending::default(), eventfds());
        pending.add(request(&a, "a", 720, &[50, 60, 70, 75, 80]));
        let all: Vec<_> = std::iter::from_fn(|| pop(&mut pending)).collect();
        let bytes: Vec<_> = all.iter().map(|(_, bytes, _)| *bytes).collect();
        assert_eq!(bytes, [750, 800, 700, 600, 500]);
        let lasts: Vec<_> = all.iter().map(|(_, _, last)| *last).collect();
        assert_eq!(lasts, [false, false, false, false, true]);
    }

    #[test]
    fn the_nearest_to_its_limit_comes_before_earlier_requests() {
        let (mut pending, [a, b]) = (Pending::default(), eventfds());
        pending.add(request(&a, "a", 100, &[50, 60]));
        assert_eq!(pop(&mut pending), Some(("a".into(), 500, false)));
        pending.add(request(&b, "b", 550, &[60]));
        assert_eq!(pop(&mut pending), Some(("b".into(), 600, true)));
        assert_eq!(pop(&mut pending), Some(("a".into(), 600, true)));
        assert_eq!(pop(&mut pending), None);
    }

    #[test]
    fn requests_of_one_eventfd_are_merged() {
        let (mut pending, [a]) = (Pending::default(), eventfds());
        pending.add(request(&a, "a", 100, &[50]));
        pending.add(request(&a, "a", 450, &[60, 70]));
        assert_eq!(pending.0.len(), 1);
        let bytes = std::iter::from_fn(|| pop(&mut pending)).map(|(_, bytes, _)| bytes);
        assert_eq!(bytes.collect::<Vec<_>>(), [500, 600, 700]);
    }

    #[test]
    fn of_a_dropped_or_forgotten_eventfd_nothing_is_kept() {
        let (mut pending, [a, b, c]) = (Pending::default(), eventfds());
        pending.add(request(&a, "a", 900, &[95]));
        pending.add(request(&b, "b", 100, &[50]));
        drop(a);
        assert_eq!(pop(&mut pending), Some(("b".into(), 500, true)));
        pending.add(request(&b, "b", 100, &[60]));
        pending.forget(&b);
        assert_eq!(pop(&mut pending), None);
        pending.add(request(&b, "b", 100, &[60]));
        drop(b);
        pending.add(request(&c, "c", 100, &[60]));
        assert_eq!(pending.0.len(), 1);
    }
}
