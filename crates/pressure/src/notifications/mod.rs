//! Threshold notifications of cgroup v1: an eventfd is readable once the usage has crossed a threshold.
//! Documentation/admin-guide/cgroup-v1/memory.rst, "Memory thresholds".

mod pending;
mod registrar;

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, epoll, eventfd};

use super::cgroup::{Cgroup, is_gone};
use super::sample::Sample;
use pending::Request;
pub(super) use registrar::Registrar;

/// In percent of the limit: dense enough that any `--warning` lies just after one.
const PERCENTS: [u64; 8] = [50, 60, 70, 75, 80, 85, 90, 95];

/// In percent of the limit: a cgroup that uses less has the lowest threshold only, whose crossing is the
/// time for the others.
const NEAR: u64 = 40;

/// Those of one container. Dropped, the kernel removes them, later and by itself.
#[derive(Default)]
pub(super) struct Notifications {
    limit: Option<u64>,
    /// How many of them were requested, from the lowest on.
    requested: usize,
    /// Readable when one was crossed in either direction, when those that were requested are registered,
    /// and at the cgroup's end; `None` where the kernel refuses.
    eventfd: Option<Arc<OwnedFd>>,
}

// === impl Notifications ===

impl Notifications {
    /// Requests those that the usage calls for. After a refusal, none is requested until the limit changes.
    pub(super) fn request(
        &mut self,
        cgroup: &Cgroup,
        sample: &Sample,
        registrar: &mut Registrar,
        epoll: &impl AsFd,
    ) {
        if self.limit != sample.limit {
            *self = Self {
                limit: sample.limit,
                ..Self::default()
            };
        }
        let Some(limit) = sample.limit else { return };
        let wanted = count_wanted(sample.current, limit);
        let Some(more) = PERCENTS
            .get(self.requested..wanted)
            .filter(|more| !more.is_empty())
        else {
            return;
        };
        if self.requested == 0 {
            match open_eventfd(cgroup, epoll) {
                Ok(eventfd) => self.eventfd = Some(Arc::new(eventfd)),
                // It is about to be noticed that it is gone.
                Err(error) if is_gone(&error) => {}
                Err(error) => registrar.log_refusal(&error),
            }
        }
        self.requested = wanted;
        if let Some(eventfd) = &self.eventfd {
            registrar.request(Request::new(
                eventfd,
                cgroup.dir(),
                sample.current,
                limit,
                more,
            ));
        }
    }

    /// Not readable until the next crossing.
    pub(super) fn reset(&self) {
        if let Some(eventfd) = &self.eventfd {
            // The count has no meaning, only that there is one.
            let _count = rustix::io::read(eventfd, &mut [0; 8]);
        }
    }
}

/// How many thresholds, from the lowest on.
fn count_wanted(current: u64, limit: u64) -> usize {
    let is_near = u128::from(current) * 100 >= u128::from(limit) * u128::from(NEAR);
    if is_near { PERCENTS.len() } else { 1 }
}

/// An eventfd in `epoll`. Registering writes to the cgroup, which has to be possible.
fn open_eventfd(cgroup: &Cgroup, epoll: &impl AsFd) -> io::Result<OwnedFd> {
    OpenOptions::new()
        .write(true)
        .open(cgroup.dir().join(registrar::CONTROL))?;
    let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let data = epoll::EventData::new_u64(cgroup.key().inode());
    epoll::add(epoll, &eventfd, data, epoll::EventFlags::IN)?;
    Ok(eventfd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_from_the_limit_there_is_one_threshold() {
        for (current, count) in [(0, 1), (399, 1), (400, 8), (1000, 8), (u64::MAX, 8)] {
            assert_eq!(count_wanted(current, 1000), count, "{current}");
        }
        assert_eq!(count_wanted(u64::MAX, u64::MAX), 8);
        assert_eq!(count_wanted(0, 0), 8);
    }
}
