//! cgroup v1: the kernel tells when the usage crosses a mark. Documentation/admin-guide/cgroup-v1/memory.rst,
//! "Memory thresholds".

mod asked;
mod setter;

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::event::{EventfdFlags, epoll, eventfd};

use super::read::{Cgroup, is_gone};
use super::usage::Usage;
use asked::Ask;
pub(super) use setter::Setter;

/// In percent of the limit: dense enough that whatever is asked for lies just after one.
const MARKS: [u64; 8] = [50, 60, 70, 75, 80, 85, 90, 95];

/// In percent of the limit: who uses less has the lowest mark only, which tells when it is time for
/// the others.
const NEAR: u64 = 40;

const CONTROL: &str = "cgroup.event_control";

/// The marks of one container. Dropped, the kernel forgets them, which it does later and by itself:
/// nobody waits.
#[derive(Default)]
pub(super) struct Marks {
    /// Of which they are.
    limit: Option<u64>,
    /// How many of them were asked for, from the lowest on.
    asked: usize,
    /// Readable when one was crossed in either direction, when those that were asked for are set, and
    /// at the cgroup's end; `None` where the kernel was not to be had for it.
    told: Option<Arc<OwnedFd>>,
}

// === impl Marks ===

impl Marks {
    /// Has those set that the usage calls for, where the kernel does that. What cannot be had is done
    /// without until the limit is another.
    pub(super) fn follow(
        &mut self,
        cgroup: &Cgroup,
        usage: &Usage,
        setter: &mut Setter,
        epoll: &impl AsFd,
    ) {
        if self.limit != usage.limit {
            *self = Self {
                limit: usage.limit,
                ..Self::default()
            };
        }
        let Some(limit) = usage.limit else { return };
        let wanted = wanted(usage.current, limit);
        let Some(more) = MARKS
            .get(self.asked..wanted)
            .filter(|more| !more.is_empty())
        else {
            return;
        };
        if self.asked == 0 {
            match listen(cgroup, epoll) {
                Ok(told) => self.told = Some(Arc::new(told)),
                // It is about to be noticed that it is gone.
                Err(error) if is_gone(&error) => {}
                Err(error) => setter.say(&error),
            }
        }
        self.asked = wanted;
        if let Some(told) = &self.told {
            setter.ask(Ask::new(told, cgroup.dir(), usage.current, limit, more));
        }
    }

    /// Not readable until the next crossing.
    pub(super) fn reset(&self) {
        if let Some(told) = &self.told {
            // What it has to say is that it can be read.
            let _count = rustix::io::read(told, &mut [0; 8]);
        }
    }
}

/// How many marks, from the lowest on.
fn wanted(current: u64, limit: u64) -> usize {
    let is_near = u128::from(current) * 100 >= u128::from(limit) * u128::from(NEAR);
    if is_near { MARKS.len() } else { 1 }
}

/// What tells, heard by `epoll`. Marks are set by writing to the cgroup, which has to be possible.
fn listen(cgroup: &Cgroup, epoll: &impl AsFd) -> io::Result<OwnedFd> {
    OpenOptions::new().write(true).open(control(cgroup.dir()))?;
    let told = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let data = epoll::EventData::new_u64(cgroup.key().inode());
    epoll::add(epoll, &told, data, epoll::EventFlags::IN)?;
    Ok(told)
}

fn control(dir: &Path) -> std::path::PathBuf {
    dir.join(CONTROL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_far_from_its_limit_has_one_mark() {
        for (current, marks) in [(0, 1), (399, 1), (400, 8), (1000, 8), (u64::MAX, 8)] {
            assert_eq!(wanted(current, 1000), marks, "{current}");
        }
        assert_eq!(wanted(u64::MAX, u64::MAX), 8);
        assert_eq!(wanted(0, 0), 8);
    }
}
