//! Logs go to standard error from their own thread: a stalled reader blocks nothing else.
//! Standard output is for incidents.

use std::io::{self, IsTerminal as _};

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;
use tracing_subscriber::util::TryInitError;

use crate::args::{Log, LogFormat, LogLevel};

/// Lines that wait while standard error stalls; more are dropped and counted.
const QUEUE: usize = 4096;

/// Installs the subscriber. Libraries log one level less than the agent. Gives the count of dropped lines, and what
/// writes the queued ones when it is dropped.
pub(crate) fn init(log: Log) -> Result<(ErrorCounter, WorkerGuard), TryInitError> {
    let (own, others) = match log.log_level {
        LogLevel::Error => (LevelFilter::ERROR, LevelFilter::ERROR),
        LogLevel::Warn => (LevelFilter::WARN, LevelFilter::ERROR),
        LogLevel::Info => (LevelFilter::INFO, LevelFilter::WARN),
        LogLevel::Debug => (LevelFilter::DEBUG, LevelFilter::INFO),
        LogLevel::Trace => (LevelFilter::TRACE, LevelFilter::DEBUG),
    };
    let filter = Targets::new()
        .with_default(others)
        // Hundreds of lines on each relocation of the object.
        .with_target("aya", LevelFilter::WARN)
        .with_target("aya_obj", LevelFilter::WARN)
        // aya-log gives the BPF programs' messages the name of their crate.
        .with_target("oom_agent_ebpf", own)
        .with_target("oom_agent", own)
        .with_target("oom_capture", own)
        .with_target("memcg", own)
        .with_target("pressure", own)
        .with_target("service", own);
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(QUEUE)
        .finish(io::stderr());
    let dropped = writer.error_counter();
    let layer = match log.log_format {
        LogFormat::Plain => fmt::layer()
            .with_ansi(io::stderr().is_terminal())
            .with_writer(writer)
            .boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(writer)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()?;
    Ok((dropped, guard))
}
