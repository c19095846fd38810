//! The bounded queue of lines for standard error. Its writers never wait.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Lines that wait for the reader of standard error. More are lost, and counted.
pub(super) const MOST_WAITING: usize = 1024;

/// Kept for the last words and the count of the lost lines.
const LAST_WORDS: usize = 2;

/// One more, which is the guard's: if its farewell finds no place it prints to standard
/// output, where nothing but a program's result belongs.
const CAPACITY: usize = MOST_WAITING + LAST_WORDS + 1;

/// Takes a line a write, and never blocks or fails. Clones share the places.
#[derive(Clone)]
pub(super) struct Queue {
    lines: NonBlocking,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    waiting: AtomicUsize,
    lost: AtomicU64,
    closing: AtomicBool,
}

/// The far end, on the thread that may block.
struct Exit<W> {
    out: W,
    shared: Arc<Shared>,
}

/// A queue to `out`; the guard flushes it when dropped.
pub(super) fn new(out: impl Write + Send + 'static) -> (Queue, WorkerGuard) {
    let shared = Arc::new(Shared::default());
    let exit = Exit {
        out,
        shared: Arc::clone(&shared),
    };
    let (lines, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(CAPACITY)
        .lossy(true)
        .thread_name("logs")
        .finish(exit);
    (Queue { lines, shared }, guard)
}

// === impl Queue ===

impl Queue {
    /// Opens the places of the last words.
    pub(super) fn close(&self) {
        self.shared.closing.store(true, Ordering::Relaxed);
    }

    /// Lines that found no place or could not be written.
    pub(super) fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !line.is_empty() && self.shared.admit() {
            self.lines.write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// === impl Shared ===

impl Shared {
    fn admit(&self) -> bool {
        let last_words = self.closing.load(Ordering::Relaxed);
        let most = MOST_WAITING + if last_words { LAST_WORDS } else { 0 };
        let one_more = |waiting| (waiting < most).then_some(waiting + 1);
        let order = Ordering::AcqRel;
        let admitted = self
            .waiting
            .fetch_update(order, Ordering::Acquire, one_more)
            .is_ok();
        if !admitted {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }
}

// === impl Exit ===

impl<W: Write> Write for Exit<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let written = self.out.write_all(line);
        self.shared.waiting.fetch_sub(1, Ordering::AcqRel);
        if written.is_err() {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
        written.map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
