//! The threads that sleep until the ring has a record, and hand records on.
//!
//! After it has marked a victim the kernel prints its report with preemption off, for
//! milliseconds where the console is slow. A reader that is woken on that CPU waits for it.
//! So there are two, each bound to one half of the CPUs: whichever half prints, the other's
//! reader is free. One lock keeps them apart. Where they may (`CAP_SYS_NICE`), they run before
//! all that is not as urgent: a busy CPU delays them no longer.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use oom_agent_ebpf::{Record, invoked};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};
use tracing_log::log::Log;

use service::clock;
use service::liveness::Liveness;

type Logger = EbpfLogger<&'static dyn Log>;

/// Takes the records, in the readers' own threads and never twice at once; `None` says that its
/// deadline has come. Gives the next deadline: `CLOCK_MONOTONIC`, in ns.
pub type Take = Box<dyn FnMut(Option<Record>) -> Option<u64> + Send>;

/// A victim is read within some 15 µs of its mark: less than it takes to fall asleep and be woken again.
const FOLLOWS_NS: u64 = 50_000;

/// The least of the real-time priorities: before everything ordinary, after everybody else's.
const PRIORITY: u8 = 1;

/// Reads until it is dropped.
pub(super) struct Reader {
    stop: Arc<OwnedFd>,
    threads: Vec<JoinHandle<()>>,
    liveness: Liveness,
}

/// What the threads take turns at.
struct Ring {
    buffer: RingBuf<MapData>,
    logger: Option<Logger>,
    take: Take,
    malformed: Arc<AtomicU64>,
}

// === impl Reader ===

impl Reader {
    /// Starts the threads. While `take` waits, the kernel's ring is the buffer, and what finds no
    /// room there is counted there.
    pub(super) fn start(
        ring: RingBuf<MapData>,
        logger: Option<Logger>,
        take: Take,
        malformed: Arc<AtomicU64>,
        tuned: bool,
    ) -> io::Result<Self> {
        let mut fds = vec![ring.as_fd().try_clone_to_owned()?];
        if let Some(logger) = &logger {
            fds.push(logger.as_fd().try_clone_to_owned()?);
        }
        let fds = Arc::new(fds);
        let ring = Arc::new(Mutex::new(Ring {
            buffer: ring,
            logger,
            take,
            malformed,
        }));
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let mut reader = Self {
            stop,
            threads: Vec::new(),
            liveness: Liveness::default(),
        };
        for (n, cpus) in halves(&sched_getaffinity(None)?).into_iter().enumerate() {
            let (ring, fds, stop) = (
                Arc::clone(&ring),
                Arc::clone(&fds),
                Arc::clone(&reader.stop),
            );
            let ending = reader.liveness.ending();
            let thread = std::thread::Builder::new()
                .name(format!("ring-reader-{n}"))
                .spawn(move || {
                    let _ending = ending;
                    if tuned {
                        tune(&cpus);
                    }
                    read(&ring, &fds, &stop);
                })?;
            reader.threads.push(thread);
        }
        Ok(reader)
    }

    pub(super) fn liveness(&self) -> Liveness {
        self.liveness.clone()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Never read: once written it wakes every thread.
        if let Err(error) = rustix::io::write(&*self.stop, &1u64.to_ne_bytes()) {
            tracing::warn!(%error, "cannot wake the ring's readers to end them");
            return;
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a reader of the ring panicked");
            }
        }
    }
}

// === impl Ring ===

impl Ring {
    /// Hands on what is there. Gives when the taker wants to be called next.
    fn drain(&mut self) -> Option<u64> {
        // Until when what follows is awaited.
        let mut until_ns = 0;
        loop {
            let Some(item) = self.buffer.next() else {
                if clock::monotonic_ns() < until_ns {
                    std::hint::spin_loop();
                    continue;
                }
                break;
            };
            until_ns = 0;
            match Record::from_bytes(&item) {
                Ok(record) => {
                    if matches!(&record, Record::Mark(mark) if mark.invoked & invoked::EXAMINED != 0)
                    {
                        until_ns = clock::monotonic_ns().saturating_add(FOLLOWS_NS);
                    }
                    (self.take)(Some(record));
                }
                Err(error) => {
                    self.malformed.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%error, "the ring holds something else than records");
                }
            }
        }
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        (self.take)(None)
    }
}

fn read(ring: &Mutex<Ring>, fds: &[OwnedFd], stop: &OwnedFd) {
    loop {
        // What a panicked reader left is still a ring.
        let drain = || ring.lock().unwrap_or_else(PoisonError::into_inner).drain();
        let deadline_ns = drain();
        match wait(fds, stop, deadline_ns) {
            Ok(true) => {}
            // What came before the end was told is still handed on.
            Ok(false) => {
                drain();
                return;
            }
            Err(error) => {
                tracing::error!(%error, "cannot wait for the ring; no more kills are seen");
                return;
            }
        }
    }
}

/// Sleeps until there is something to do (true) or it is time to end (false).
fn wait(fds: &[OwnedFd], stop: &OwnedFd, deadline_ns: Option<u64>) -> io::Result<bool> {
    let mut fds: Vec<PollFd<'_>> = std::iter::once(stop)
        .chain(fds)
        .map(|fd| PollFd::new(fd, PollFlags::IN))
        .collect();
    let timeout = deadline_ns.map(|deadline_ns| {
        let left = Duration::from_nanos(deadline_ns.saturating_sub(clock::monotonic_ns()));
        Timespec::try_from(left).unwrap_or_default()
    });
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(fds.first().is_none_or(|stop| stop.revents().is_empty()))
}

/// Binds this thread to these CPUs, and makes it a real-time one, where that is allowed.
fn tune(cpus: &CpuSet) {
    if let Err(error) = sched_setaffinity(None, cpus) {
        tracing::debug!(%error, "a reader of the ring is bound to no CPUs");
    }
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let Ok(priority) = PRIORITY.try_into() else {
        return;
    };
    let priority = ThreadPriority::Crossplatform(priority);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), priority, policy) {
        tracing::debug!(
            ?error,
            "without CAP_SYS_NICE a busy CPU delays the ring's readers"
        );
    }
}

/// Every other CPU, so that the two threads of a core are in different halves; all of them where there is one.
fn halves(cpus: &CpuSet) -> Vec<CpuSet> {
    let mut halves = [CpuSet::new(), CpuSet::new()];
    let ours = (0..CpuSet::MAX_CPU).filter(|cpu| cpus.is_set(*cpu));
    for (n, cpu) in ours.enumerate() {
        if let Some(half) = halves.get_mut(n % 2) {
            half.set(cpu);
        }
    }
    halves.into_iter().filter(|half| half.count() > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_halves_are_disjoint_and_whole() {
        let set = |cpus: &[usize]| {
            let mut set = CpuSet::new();
            for cpu in cpus {
                set.set(*cpu);
            }
            set
        };
        assert_eq!(halves(&set(&[3])), [set(&[3])]);
        assert_eq!(halves(&set(&[0, 1])), [set(&[0]), set(&[1])]);
        assert_eq!(
            halves(&set(&[1, 4, 5, 70, 1000])),
            [set(&[1, 5, 1000]), set(&[4, 70])]
        );
    }
}
