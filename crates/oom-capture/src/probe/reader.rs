//! The threads that wait for records in the ring and pass them to the handler.
//!
//! After it has marked a victim the kernel prints its report with preemption off, for milliseconds where the
//! console is slow. A reader that is woken on that CPU waits for it. So there are two, each bound to one half of
//! the CPUs: the reader on the half that does not print is free. A lock lets one read at a time. With
//! `CAP_SYS_NICE` they have a real-time priority, so that a busy CPU does not delay them.

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

pub(super) type Logger = EbpfLogger<&'static dyn Log>;

/// Handles records. It is called in the readers' threads, one call at a time, with each record, and with `None` when
/// the ring is empty or its deadline has come. It returns the next deadline: `CLOCK_MONOTONIC`, in ns.
pub type RecordHandler = Box<dyn FnMut(Option<Record>) -> Option<u64> + Send>;

/// How long a reader spins for the autopsy of a mark: it comes within some 15 µs, sooner than a sleeping thread can
/// be woken.
const AUTOPSY_SPIN_NS: u64 = 50_000;

/// The lowest real-time priority.
const PRIORITY: u8 = 1;

/// Reads the ring until it is dropped.
pub(super) struct Reader {
    stop: Arc<OwnedFd>,
    threads: Vec<JoinHandle<()>>,
    liveness: Liveness,
}

/// The ring, which one thread at a time drains.
struct Ring {
    buffer: RingBuf<MapData>,
    logger: Option<Logger>,
    handler: RecordHandler,
    malformed: Arc<AtomicU64>,
}

// === impl Reader ===

impl Reader {
    /// Starts the threads. While the handler blocks, records wait in the ring; the kernel counts those that find it
    /// full.
    pub(super) fn start(
        ring: RingBuf<MapData>,
        logger: Option<Logger>,
        handler: RecordHandler,
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
            handler,
            malformed,
        }));
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let mut reader = Self {
            stop,
            threads: Vec::new(),
            liveness: Liveness::default(),
        };
        for (n, cpus) in split_cpus(&sched_getaffinity(None)?)
            .into_iter()
            .enumerate()
        {
            let (ring, fds, stop) = (
                Arc::clone(&ring),
                Arc::clone(&fds),
                Arc::clone(&reader.stop),
            );
            let guard = reader.liveness.guard_thread();
            let thread = std::thread::Builder::new()
                .name(format!("ring-reader-{n}"))
                .spawn(move || {
                    let _guard = guard;
                    if tuned {
                        tune_thread(&cpus);
                    }
                    read_ring(&ring, &fds, &stop);
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
        // The eventfd is never read, so one write wakes every thread.
        if let Err(error) = rustix::io::write(&*self.stop, &1u64.to_ne_bytes()) {
            tracing::warn!(%error, "cannot wake the threads that read the ring, so they go on");
            return;
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that reads the ring has panicked");
            }
        }
    }
}

// === impl Ring ===

impl Ring {
    /// Passes all records to the handler and returns its next deadline.
    fn drain(&mut self) -> Option<u64> {
        let mut spin_until_ns = 0;
        loop {
            let Some(item) = self.buffer.next() else {
                if clock::monotonic_ns() < spin_until_ns {
                    std::hint::spin_loop();
                    continue;
                }
                break;
            };
            spin_until_ns = 0;
            match Record::from_bytes(&item) {
                Ok(record) => {
                    if matches!(&record, Record::Mark(mark) if mark.invoked & invoked::EXAMINED != 0)
                    {
                        spin_until_ns = clock::monotonic_ns().saturating_add(AUTOPSY_SPIN_NS);
                    }
                    (self.handler)(Some(record));
                }
                Err(error) => {
                    self.malformed.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%error, "an item of the ring is no record");
                }
            }
        }
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        (self.handler)(None)
    }
}

fn read_ring(ring: &Mutex<Ring>, fds: &[OwnedFd], stop: &OwnedFd) {
    loop {
        // A reader that panics does not leave the ring in a broken state.
        let drain = || ring.lock().unwrap_or_else(PoisonError::into_inner).drain();
        let deadline_ns = drain();
        match wait_for_records(fds, stop, deadline_ns) {
            Ok(true) => {}
            // Records that came before the stop are still passed on.
            Ok(false) => {
                drain();
                return;
            }
            Err(error) => {
                tracing::error!(%error, "cannot wait for the ring: no more kills are seen");
                return;
            }
        }
    }
}

/// Sleeps until there are records or the deadline has come (true), or until the stop (false).
fn wait_for_records(fds: &[OwnedFd], stop: &OwnedFd, deadline_ns: Option<u64>) -> io::Result<bool> {
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

/// Binds this thread to these CPUs and gives it a real-time priority, where that is allowed.
fn tune_thread(cpus: &CpuSet) {
    if let Err(error) = sched_setaffinity(None, cpus) {
        tracing::debug!(%error, "cannot bind a thread that reads the ring to CPUs");
    }
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let Ok(priority) = PRIORITY.try_into() else {
        return;
    };
    let priority = ThreadPriority::Crossplatform(priority);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), priority, policy) {
        tracing::debug!(
            ?error,
            "without CAP_SYS_NICE a busy CPU delays the threads that read the ring"
        );
    }
}

/// Two sets of every other CPU, so that the two threads of a core are in different sets; one set of a single CPU.
fn split_cpus(cpus: &CpuSet) -> Vec<CpuSet> {
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
    fn the_halves_are_disjoint_and_complete() {
        let set = |cpus: &[usize]| {
            let mut set = CpuSet::new();
            for cpu in cpus {
                set.set(*cpu);
            }
            set
        };
        assert_eq!(split_cpus(&set(&[3])), [set(&[3])]);
        assert_eq!(split_cpus(&set(&[0, 1])), [set(&[0]), set(&[1])]);
        assert_eq!(
            split_cpus(&set(&[1, 4, 5, 70, 1000])),
            [set(&[1, 5, 1000]), set(&[4, 70])]
        );
    }
}
