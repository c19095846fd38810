//! The thread that sleeps until the ring has a record, and hands records on.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use oom_agent_ebpf::Record;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use tokio::sync::mpsc::Sender;
use tracing_log::log::Log;

type Logger = EbpfLogger<&'static dyn Log>;

/// Reads until it is dropped.
pub(super) struct Reader {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

// === impl Reader ===

impl Reader {
    /// Starts the thread. A full `records` makes it wait: the kernel's ring is the buffer,
    /// and what finds no room there is counted there.
    pub(super) fn start(
        ring: RingBuf<MapData>,
        logger: Option<Logger>,
        records: Sender<Record>,
        malformed: Arc<AtomicU64>,
    ) -> io::Result<Self> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("ring-reader".to_owned())
            .spawn(move || read(ring, logger, &stopped, &records, &malformed))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Err(error) = rustix::io::write(&*self.stop, &1u64.to_ne_bytes()) {
            tracing::warn!(%error, "cannot wake the ring's reader to end it");
            return;
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the ring's reader panicked");
        }
    }
}

fn read(
    mut ring: RingBuf<MapData>,
    mut logger: Option<Logger>,
    stop: &OwnedFd,
    records: &Sender<Record>,
    malformed: &AtomicU64,
) {
    loop {
        while let Some(item) = ring.next() {
            match Record::from_bytes(&item) {
                // The receiver is gone: so is the reason to read.
                Ok(record) => {
                    if records.blocking_send(record).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    malformed.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%error, "the ring holds something else than records");
                }
            }
        }
        if let Some(logger) = &mut logger {
            logger.flush();
        }
        match wait(&ring, logger.as_ref(), stop) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::error!(%error, "cannot wait for the ring; no more kills are seen");
                return;
            }
        }
    }
}

/// Sleeps until there is something to read (true) or it is time to end (false).
fn wait(ring: &RingBuf<MapData>, logger: Option<&Logger>, stop: &OwnedFd) -> io::Result<bool> {
    let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
    let mut fds = vec![readable(stop.as_fd()), readable(ring.as_fd())];
    fds.extend(logger.map(|logger| readable(logger.as_fd())));
    loop {
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => break,
        }
    }
    Ok(fds.first().is_none_or(|stop| stop.revents().is_empty()))
}
