//! The thread that samples.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use service::clock;
use service::liveness::{Liveness, ThreadGuard};

use super::sample::{OnContainer, OnSweep, Sweep};
use super::table::Table;
use super::tree::{CgroupTree, Source, TreeEvent};
use crate::counts::{Counts, add, set};

/// Neither is an inode of a cgroup that can have a limit: that of the root is 1.
const STOP: u64 = 0;
const TREE: u64 = 1;

/// Read at once.
const EVENTS: usize = 64;

/// After it was woken the thread rests for that long. The kernel notifies of the same cgroup no
/// sooner than that (`CGROUP_FILE_NOTIFY_MIN_INTV`), but there may be a thousand at their limits.
const REST: Duration = Duration::from_millis(10);

/// Samples until it is dropped.
pub struct Sampler {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// Why containers are not watched. `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SamplerError {
    /// By inotify.
    #[error("cannot watch the cgroups' directories: raise fs.inotify.max_user_instances")]
    Inotify(#[source] io::Error),
    /// No thread, or no eventfd to wake it by.
    #[error("cannot start the thread that samples the containers' memory")]
    Thread(#[source] io::Error),
}

/// Exists as long as the thread runs.
struct Running {
    counts: Arc<Counts>,
    _guard: ThreadGuard,
}

struct Work {
    tree: CgroupTree,
    table: Table,
    epoll: OwnedFd,
    stop: Arc<OwnedFd>,
    /// `None`: nothing is sampled, and only containers are reported.
    period_ns: Option<u64>,
    on_sweep: OnSweep,
    on_container: OnContainer,
    counts: Arc<Counts>,
    /// When the next sweep is due; `None` while there is nothing to sample.
    sweep_ns: Option<u64>,
}

// === impl Sampler ===

impl Sampler {
    /// Samples all containers once in `period`, and what changes fast in between. While there is no
    /// container with a limit the thread sleeps until one comes. Without a period nothing is sampled, and
    /// only `on_container` is called. `liveness` learns of the thread's end, a panic's too. Up to six files
    /// of each container stay open: the limit of open files is the caller's.
    pub fn start(
        source: Source,
        period: Option<Duration>,
        counts: Arc<Counts>,
        liveness: Liveness,
        on_sweep: OnSweep,
        on_container: OnContainer,
    ) -> Result<Self, SamplerError> {
        let thread = |error: Errno| SamplerError::Thread(error.into());
        let mut events = Vec::new();
        let tree = CgroupTree::open(source, &mut events).map_err(SamplerError::Inotify)?;
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).map_err(thread)?);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(thread)?;
        let add = |fd: std::os::fd::BorrowedFd<'_>, data| {
            epoll::add(&epoll, fd, EventData::new_u64(data), EventFlags::IN).map_err(thread)
        };
        add(std::os::fd::AsFd::as_fd(&*stop), STOP)?;
        add(std::os::fd::AsFd::as_fd(&tree), TREE)?;
        let mut work = Work {
            table: Table::new(Arc::clone(&counts)),
            tree,
            epoll,
            stop: Arc::clone(&stop),
            period_ns: period.map(|period| u64::try_from(period.as_nanos()).unwrap_or(u64::MAX)),
            on_sweep,
            on_container,
            counts: Arc::clone(&counts),
            sweep_ns: None,
        };
        work.handle(&events);
        let thread = std::thread::Builder::new()
            .name("sampler".to_owned())
            .spawn(move || {
                let _running = Running::new(counts, &liveness, period.is_some());
                if let Err(error) = work.run() {
                    tracing::error!(%error, "the containers' memory is no longer sampled");
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
        // Never read: once written it wakes the thread, whatever that waits for.
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

// === impl Running ===

impl Running {
    fn new(counts: Arc<Counts>, liveness: &Liveness, samples: bool) -> Self {
        set(&counts.running, usize::from(samples));
        Self {
            counts,
            _guard: liveness.guard_thread(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        set(&self.counts.running, 0);
    }
}

// === impl Work ===

impl Work {
    fn run(&mut self) -> io::Result<()> {
        loop {
            self.sample_due(clock::monotonic_ns());
            let mut events = [Event {
                flags: EventFlags::empty(),
                data: EventData::new_u64(STOP),
            }; EVENTS];
            let timeout = self.due_ns().map(timespec_until);
            let woken = match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
                Ok(woken) => woken,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for event in events.iter().take(woken) {
                match event.data.u64() {
                    STOP => return Ok(()),
                    TREE => self.read_tree()?,
                    inode => self.table.handle_notification(inode),
                }
            }
            if woken > 0 {
                self.sample_due(clock::monotonic_ns());
                if self.rest()? {
                    return Ok(());
                }
            }
        }
    }

    /// Samples what is due by now.
    fn sample_due(&mut self, now_ns: u64) {
        let Some(period_ns) = self.period_ns else {
            return;
        };
        match (self.sweep_ns, self.table.is_empty()) {
            (None, true) => return,
            (None, false) => self.sweep_ns = Some(now_ns),
            (Some(_), true) => {
                // The last has gone: an empty sweep has consumers drop what they keep of it.
                self.sweep_ns = None;
                (self.on_sweep)(&Sweep {
                    samples: &[],
                    stuck: &[],
                    whole: true,
                });
                return;
            }
            (Some(_), false) => {}
        }
        let begun = Instant::now();
        let is_due = |due_ns: Option<u64>| due_ns.is_some_and(|due_ns| due_ns <= now_ns);
        let sweep = if is_due(self.sweep_ns) {
            self.sweep_ns = Some(next_sweep(self.sweep_ns, period_ns, now_ns));
            add(&self.counts.sweeps, 1);
            self.table.sweep(&self.epoll)
        } else if is_due(self.table.due_ns()) {
            let sweep = self.table.sample_due(&self.epoll, now_ns);
            add(&self.counts.between, sweep.samples.len() as u64);
            sweep
        } else {
            return;
        };
        (self.on_sweep)(&sweep);
        self.counts.add_busy(begun.elapsed());
    }

    fn due_ns(&self) -> Option<u64> {
        let sweep_ns = self.sweep_ns?;
        Some(
            self.table
                .due_ns()
                .map_or(sweep_ns, |next| next.min(sweep_ns)),
        )
    }

    fn read_tree(&mut self) -> io::Result<()> {
        let mut events = Vec::new();
        if self.tree.read_events(&mut events)? {
            self.handle(&events);
            return Ok(());
        }
        add(&self.counts.rescans, 1);
        events.clear();
        // The old one ends with its descriptor.
        self.tree = CgroupTree::open(self.tree.source().clone(), &mut events)?;
        epoll::add(
            &self.epoll,
            &self.tree,
            EventData::new_u64(TREE),
            EventFlags::IN,
        )?;
        let there: HashSet<&str> = events
            .iter()
            .filter_map(|event| match event {
                TreeEvent::Added(path) => Some(path.as_str()),
                _ => None,
            })
            .collect();
        self.table.retain(|path| there.contains(path));
        self.handle(&events);
        Ok(())
    }

    fn handle(&mut self, events: &[TreeEvent]) {
        for event in events {
            match event {
                TreeEvent::Added(path) => (self.on_container)(path, true),
                TreeEvent::Removed(path) => (self.on_container)(path, false),
                TreeEvent::LimitChanged(_) | TreeEvent::EventsChanged(_) => {}
            }
            match event {
                _ if self.period_ns.is_none() => {}
                TreeEvent::Added(path) | TreeEvent::LimitChanged(path) => {
                    self.table.update_limit(self.tree.source(), path);
                }
                TreeEvent::EventsChanged(path) => self.table.request_sample(path),
                TreeEvent::Removed(path) => self.table.remove(self.tree.source(), path),
            }
        }
        set(&self.counts.unwatched, self.tree.unwatched);
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

/// The next sweep: in step with the ones before, unless one has been missed.
fn next_sweep(due_ns: Option<u64>, period_ns: u64, now_ns: u64) -> u64 {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_are_in_step_and_missed_ones_are_not_made_up_for() {
        assert_eq!(next_sweep(None, 10, 100), 110);
        assert_eq!(next_sweep(Some(100), 10, 103), 110);
        assert_eq!(next_sweep(Some(100), 10, 110), 120);
        assert_eq!(next_sweep(Some(100), 10, 555), 565);
    }
}
