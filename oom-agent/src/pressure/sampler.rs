//! The thread that looks.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use service::clock;
use service::liveness::{Liveness, ThreadGuard};

use super::table::Table;
use super::tree::{Noticed, Source, Tree};
use super::usage::{Notice, Pass, Take};
use crate::metrics::SamplerCounts;

/// Neither is an inode of a cgroup that can be limited: that of the root is 1.
const STOP: u64 = 0;
const TREE: u64 = 1;

/// Told at once.
const EVENTS: usize = 64;

/// After it was woken the thread hears nothing for that long. The kernel tells of the same cgroup no
/// sooner than that (`CGROUP_FILE_NOTIFY_MIN_INTV`), but there may be a thousand at their limits.
const REST: Duration = Duration::from_millis(10);

/// Files that may be open: six of each container, and what else there is.
const OPEN_FILES: u64 = 8192;

/// Samples until it is dropped.
pub struct Sampler {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// Why containers are not watched. `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SamplerError {
    /// The kernel does not tell of new cgroups.
    #[error("cannot watch the cgroups' directories: raise fs.inotify.max_user_instances")]
    Watch(#[source] io::Error),
    /// No thread, or nothing to wake it by.
    #[error("cannot start the thread that samples the containers' memory")]
    Thread(#[source] io::Error),
}

/// Is as long as the thread runs.
struct Alive {
    counts: SamplerCounts,
    _ending: ThreadGuard,
}

struct Work {
    tree: Tree,
    table: Table,
    epoll: OwnedFd,
    stop: Arc<OwnedFd>,
    /// `None`: nothing is sampled, and cgroups are only told of.
    period_ns: Option<u64>,
    take: Take,
    notice: Notice,
    counts: SamplerCounts,
    /// When the next pass is due; `None` while there is nothing to look at.
    pass_ns: Option<u64>,
}

// === impl Sampler ===

impl Sampler {
    /// Looks at what is there, and then at all once in `period`; between that, at what changes fast.
    /// While there is no container with a limit the thread sleeps until one comes. Without a period
    /// nothing is looked at, and only `notice` is told of containers that come and go. `liveness` is
    /// told of its end, a panic's too.
    pub fn start(
        source: Source,
        period: Option<Duration>,
        counts: SamplerCounts,
        liveness: Liveness,
        take: Take,
        notice: Notice,
    ) -> Result<Self, SamplerError> {
        let thread = |error: Errno| SamplerError::Thread(error.into());
        let mut noticed = Vec::new();
        raise_open_files();
        let tree = Tree::open(source, &mut noticed).map_err(SamplerError::Watch)?;
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).map_err(thread)?);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(thread)?;
        let add = |fd: std::os::fd::BorrowedFd<'_>, data| {
            epoll::add(&epoll, fd, EventData::new_u64(data), EventFlags::IN).map_err(thread)
        };
        add(std::os::fd::AsFd::as_fd(&*stop), STOP)?;
        add(std::os::fd::AsFd::as_fd(&tree), TREE)?;
        let mut work = Work {
            table: Table::new(counts.clone()),
            tree,
            epoll,
            stop: Arc::clone(&stop),
            period_ns: period.map(|period| u64::try_from(period.as_nanos()).unwrap_or(u64::MAX)),
            take,
            notice,
            counts: counts.clone(),
            pass_ns: None,
        };
        work.notice(&noticed);
        let thread = std::thread::Builder::new()
            .name("sampler".to_owned())
            .spawn(move || {
                let _alive = Alive::new(counts, &liveness, period.is_some());
                if let Err(error) = work.run() {
                    tracing::error!(%error, "the containers' memory is sampled no more");
                }
            })
            .map_err(SamplerError::Thread)?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        // Never read: once written it wakes the thread whatever it waits for.
        if let Err(error) = rustix::io::write(&*self.stop, &1u64.to_ne_bytes()) {
            tracing::warn!(%error, "cannot wake the sampler to end it");
            return;
        }
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            tracing::error!("the sampler panicked");
        }
    }
}

// === impl Alive ===

impl Alive {
    fn new(counts: SamplerCounts, liveness: &Liveness, samples: bool) -> Self {
        counts.running.set(i64::from(samples));
        Self {
            counts,
            _ending: liveness.guard_thread(),
        }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.counts.running.set(0);
    }
}

// === impl Work ===

impl Work {
    fn run(&mut self) -> io::Result<()> {
        loop {
            self.look(clock::monotonic_ns());
            let mut events = [Event {
                flags: EventFlags::empty(),
                data: EventData::new_u64(STOP),
            }; EVENTS];
            let timeout = self.next_ns().map(timespec_until);
            let woken = match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
                Ok(woken) => woken,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for event in events.iter().take(woken) {
                match event.data.u64() {
                    STOP => return Ok(()),
                    TREE => self.hear()?,
                    inode => self.table.crossed(inode),
                }
            }
            if woken > 0 {
                self.look(clock::monotonic_ns());
                if self.rest()? {
                    return Ok(());
                }
            }
        }
    }

    /// Whatever is due by now.
    fn look(&mut self, now_ns: u64) {
        let Some(period_ns) = self.period_ns else {
            return;
        };
        match (self.pass_ns, self.table.is_empty()) {
            (None, true) => return,
            (None, false) => self.pass_ns = Some(now_ns),
            (Some(_), true) => {
                // The last has gone: who keeps something of it learns that here.
                self.pass_ns = None;
                (self.take)(&Pass {
                    usages: &[],
                    stuck: &[],
                    whole: true,
                });
                return;
            }
            (Some(_), false) => {}
        }
        let begun = Instant::now();
        if self.pass_ns.is_some_and(|due_ns| due_ns <= now_ns) {
            let pass = self.table.pass(&self.epoll);
            self.counts.passes.inc();
            (self.take)(&pass);
            self.counts.spent(begun.elapsed());
            self.pass_ns = Some(after(self.pass_ns, period_ns, now_ns));
        } else if self.table.next_ns().is_some_and(|due_ns| due_ns <= now_ns) {
            let pass = self.table.between(&self.epoll, now_ns);
            self.counts.between.inc_by(pass.usages.len() as u64);
            (self.take)(&pass);
            self.counts.spent(begun.elapsed());
        }
    }

    fn next_ns(&self) -> Option<u64> {
        let pass_ns = self.pass_ns?;
        Some(
            self.table
                .next_ns()
                .map_or(pass_ns, |next| next.min(pass_ns)),
        )
    }

    fn hear(&mut self) -> io::Result<()> {
        let mut noticed = Vec::new();
        if self.tree.drain(&mut noticed)? {
            self.notice(&noticed);
            return Ok(());
        }
        self.counts.rescans.inc();
        noticed.clear();
        // What is watched no more is no more told of: the old one ends with its descriptor.
        self.tree = Tree::open(self.tree.source().clone(), &mut noticed)?;
        epoll::add(
            &self.epoll,
            &self.tree,
            EventData::new_u64(TREE),
            EventFlags::IN,
        )?;
        let there: HashSet<&str> = noticed
            .iter()
            .filter_map(|noticed| match noticed {
                Noticed::There(path) => Some(path.as_str()),
                Noticed::Limit(_) | Noticed::Hit(_) | Noticed::Gone(_) => None,
            })
            .collect();
        self.table.retain(|path| there.contains(path));
        self.notice(&noticed);
        Ok(())
    }

    fn notice(&mut self, noticed: &[Noticed]) {
        for noticed in noticed {
            match noticed {
                Noticed::There(path) => (self.notice)(path, true),
                Noticed::Gone(path) => (self.notice)(path, false),
                Noticed::Limit(_) | Noticed::Hit(_) => {}
            }
            match noticed {
                _ if self.period_ns.is_none() => {}
                Noticed::There(path) | Noticed::Limit(path) => {
                    self.table.limit(self.tree.source(), path);
                }
                Noticed::Hit(path) => self.table.hit(path),
                Noticed::Gone(path) => self.table.gone(self.tree.source(), path),
            }
        }
        let unwatched = i64::try_from(self.tree.unwatched).unwrap_or(i64::MAX);
        self.counts.unwatched.set(unwatched);
    }

    /// True when it is time to end.
    fn rest(&self) -> io::Result<bool> {
        let mut stop = [PollFd::new(&self.stop, PollFlags::IN)];
        let rest = Timespec::try_from(REST).unwrap_or_default();
        match poll(&mut stop, Some(&rest)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// The next pass: in step with the ones before, unless one has been missed.
fn after(due_ns: Option<u64>, period_ns: u64, now_ns: u64) -> u64 {
    let next = due_ns.unwrap_or(now_ns).saturating_add(period_ns);
    if next > now_ns {
        next
    } else {
        now_ns.saturating_add(period_ns)
    }
}

fn timespec_until(due_ns: u64) -> Timespec {
    let left = Duration::from_nanos(due_ns.saturating_sub(clock::monotonic_ns()));
    Timespec::try_from(left).unwrap_or_default()
}

/// The soft limit is 1024 files in many places, for the sake of select(2), which nothing here calls.
fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    if current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "no more than 1024 files may be open: with many containers some are not watched");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_are_in_step_and_missed_ones_are_not_made_up_for() {
        assert_eq!(after(None, 10, 100), 110);
        assert_eq!(after(Some(100), 10, 103), 110);
        assert_eq!(after(Some(100), 10, 110), 120);
        assert_eq!(after(Some(100), 10, 555), 565);
    }
}
