//! Logs go to standard error, results to standard output. A reader that is too slow for standard
//! error loses lines and delays nothing.

mod queue;

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::panic;

use anstream::{AutoStream, ColorChoice};
use service::error_chain::chain;
use tracing::level_filters::LevelFilter;
use tracing::{error, warn};
use tracing_appender::non_blocking::WorkerGuard;

use crate::servo::Screen;
use crate::text::escape;
use queue::Queue;

/// Holds standard error, and flushes it when dropped, for about a second at most.
pub(crate) struct Logs {
    queue: Queue,
    /// Dropped after [`Logs`]'s own farewell, which it flushes.
    _flush: WorkerGuard,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Plain,
    /// One object a line.
    Json,
}

/// Starts logging; a second call in one process changes nothing.
pub(crate) fn start(level: LevelFilter, format: LogFormat) -> Logs {
    let logs = Logs::to(io::stderr());
    let queue = logs.queue.clone();
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(move || queue.clone())
        .with_ansi(AutoStream::choice(&io::stderr()) != ColorChoice::Never);
    // Fails only if a subscriber is set already, which then stays.
    let _ = match format {
        LogFormat::Plain => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    // The default hook writes to standard error itself: a servo's panic could hang there.
    panic::set_hook(Box::new(|panic| {
        error!(panic = escape(&panic.to_string()), "panicked");
    }));
    logs
}

// === impl Logs ===

impl Logs {
    fn to(out: impl Write + Send + 'static) -> Self {
        let (queue, flush) = queue::new(out);
        Self {
            queue,
            _flush: flush,
        }
    }

    /// The last line of a program that failed.
    pub(crate) fn print_error(&self, why: &(dyn Error + 'static)) {
        self.queue.close();
        let line = format!("error: {}\n", chain(why));
        // A queue never fails.
        let _ = self.queue.clone().write_all(line.as_bytes());
    }

    /// Standard error for drawings, in order with the log lines, if it is a terminal that
    /// can move its cursor.
    pub(crate) fn screen(&self) -> Screen {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        (io::stderr().is_terminal() && !dumb).then(|| Box::new(self.queue.clone()) as _)
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.queue.close();
        let lost = self.queue.lost();
        if lost > 0 {
            warn!(lost, "log lines were lost: standard error was not read");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex, mpsc};

    use tracing::info;

    use super::{Logs, queue::MOST_WAITING};
    use service::error_chain::chain;

    /// Takes a line only while its gate is open or gone.
    struct Slow {
        gate: mpsc::Receiver<()>,
        taken: Arc<Mutex<String>>,
    }

    impl Write for Slow {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.gate.recv();
            let line = String::from_utf8_lossy(line);
            self.taken.lock().unwrap().push_str(&line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Every test here needs one: a line first met without any is off for the others too.
    fn subscriber(logs: &Logs) -> impl tracing::Subscriber + Send + Sync + 'static {
        let queue = logs.queue.clone();
        tracing_subscriber::fmt()
            .with_writer(move || queue.clone())
            .with_ansi(false)
            .finish()
    }

    #[test]
    fn a_slow_reader_loses_lines_and_the_last_one_counts_them() {
        const LOST: usize = 7;
        let (open, gate) = mpsc::channel();
        let taken = Arc::new(Mutex::new(String::new()));
        let slow = Slow {
            gate,
            taken: Arc::clone(&taken),
        };
        let logs = Logs::to(slow);
        tracing::subscriber::with_default(subscriber(&logs), || {
            for n in 0..MOST_WAITING + LOST {
                info!("line {n}.");
            }
            assert_eq!(logs.queue.lost(), LOST as u64);
            let why = io::Error::other("the last words");
            logs.print_error(&why);
            assert!(!taken.lock().unwrap().contains(&chain(&why).to_string()));
            drop(open);
            drop(logs);
        });
        let taken = taken.lock().unwrap();
        let last = MOST_WAITING - 1;
        assert!(taken.contains(&format!("line {last}.\n")), "{taken}");
        assert!(!taken.contains(&format!("line {MOST_WAITING}.")));
        assert!(taken.contains("error: the last words\n"));
        let counted = format!("lost={LOST}");
        assert!(taken.lines().last().unwrap().contains(&counted), "{taken}");
    }

    #[test]
    fn a_reader_that_never_reads_does_not_delay_the_end() {
        let (open, gate) = mpsc::channel();
        let taken = Arc::default();
        let logs = Logs::to(Slow { gate, taken });
        for _ in 0..MOST_WAITING * 2 {
            logs.queue.clone().write_all(b"line\n").unwrap();
        }
        let (gone, left) = mpsc::channel();
        std::thread::spawn(move || {
            tracing::subscriber::with_default(subscriber(&logs), || drop(logs));
            gone.send(()).unwrap();
        });
        let ended = left.recv_timeout(std::time::Duration::from_secs(20));
        assert_eq!(ended, Ok(()));
        drop(open);
    }
}
