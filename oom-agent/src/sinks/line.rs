//! The sink of standard output: one line a report. A pipe with room takes it at once; without room a
//! thread writes it, so that a stalled reader delays nothing else.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use jiff::tz::TimeZone;
use parking_lot::Mutex;
use rustix::fs::OFlags;
use service::escape;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::QUEUE;
use crate::metrics::Counter;
use crate::report::Report;

/// Standard output, to be opened again.
const STDOUT: &str = "/proc/self/fd/1";

/// The width of the last minute's sparkline, in characters.
const CELLS: usize = 30;

/// How incidents are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A sentence for people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Which reports have lines, and how these are written.
#[derive(Clone, Debug)]
pub(crate) struct Style {
    pub format: Format,
    /// For human lines; JSON is always in UTC.
    pub zone: TimeZone,
    /// Whether mismatches of Kubernetes' status have lines.
    pub mismatches: bool,
    /// Whether containers near their limits have lines.
    pub warnings: bool,
}

/// The sink; its thread writes what the pipe does not take at once.
pub(crate) struct Lines {
    style: Style,
    /// `None` once it has ended.
    out: Mutex<Option<Out>>,
    unwritten: Counter,
}

struct Out {
    /// A pipe whose writes do not wait, where the output is one.
    pipe: Option<File>,
    queue: SyncSender<Vec<u8>>,
    /// Lines in the queue, the one that is being written included.
    queued: Arc<AtomicU64>,
    /// The thread has ended.
    ended: oneshot::Receiver<()>,
}

// === impl Style ===

impl Style {
    pub(crate) fn kills_only(format: Format, zone: TimeZone) -> Self {
        Self {
            format,
            zone,
            mismatches: false,
            warnings: false,
        }
    }
}

// === impl Lines ===

impl Lines {
    /// Lines on standard output; what it does not take is counted in `unwritten`.
    pub(crate) fn to_stdout(style: Style, unwritten: Counter) -> io::Result<Self> {
        match open_nonblocking(STDOUT) {
            // Opened again for blocking writes, too: the inherited one may be nonblocking.
            Some(pipe) => {
                let out = OpenOptions::new().write(true).open(STDOUT)?;
                Self::start(style, out, Some(pipe), unwritten)
            }
            None => Self::start(style, io::stdout(), None, unwritten),
        }
    }

    /// Starts the thread, which writes to `out`; `pipe` is the same for writes that do not wait.
    pub(crate) fn start(
        style: Style,
        mut out: impl Write + Send + 'static,
        pipe: Option<File>,
        unwritten: Counter,
    ) -> io::Result<Self> {
        let (queue, lines) = sync_channel::<Vec<u8>>(QUEUE);
        let (end, ended) = oneshot::channel();
        let queued = Arc::new(AtomicU64::new(0));
        let (lost, left) = (unwritten.clone(), Arc::clone(&queued));
        std::thread::Builder::new()
            .name("line-writer".to_owned())
            .spawn(move || {
                // The last line was cut by an error, and has no end.
                let mut torn = false;
                for line in lines {
                    if let Err(error) = write_whole(&mut out, &line, &mut torn) {
                        lost.inc();
                        tracing::error!(%error, "cannot write an incident to standard output");
                    }
                    left.fetch_sub(1, Ordering::Release);
                }
                // `finish` may have given up.
                let _late = end.send(());
            })?;
        Ok(Self {
            style,
            out: Mutex::new(Some(Out {
                pipe,
                queue,
                queued,
                ended,
            })),
            unwritten,
        })
    }

    pub(crate) fn format(&self) -> Format {
        self.style.format
    }

    /// Never waits: a full queue drops the line and counts it.
    pub(crate) fn offer(&self, report: &Report) {
        let is_wanted = match report {
            Report::Incident(_) | Report::NoVictim(_) => true,
            Report::Mismatch(_) => self.style.mismatches,
            Report::Warning(_) => self.style.warnings,
            // The log has it.
            Report::BadAnnotations(_) => false,
        };
        if !is_wanted {
            return;
        }
        let line = match self.style.format {
            Format::Json => format_json(report).map_err(io::Error::other),
            Format::Human => Ok(self.format_human(report).into_bytes()),
        };
        self.write_line(line, report.id());
    }

    fn write_line(&self, line: io::Result<Vec<u8>>, incident: &str) {
        let written = line.and_then(|mut line| {
            line.push(b'\n');
            // One at a time: lines must not mix.
            let mut out = self.out.lock();
            let ended = || io::Error::other("the sink was shut down");
            out.as_mut().ok_or_else(ended)?.write(line)
        });
        if let Err(error) = written {
            self.unwritten.inc();
            tracing::error!(%error, incident, "incident not written");
        }
    }

    /// Lets the thread write what is queued, for `patience` at most.
    pub(crate) async fn finish(&self, patience: Duration) {
        let out = self.out.lock().take();
        let Some(Out {
            queue,
            queued,
            ended,
            ..
        }) = out
        else {
            return;
        };
        drop(queue);
        if timeout(patience, ended).await.is_err() {
            let lost = queued.load(Ordering::Relaxed);
            self.unwritten.inc_by(lost);
            tracing::error!(
                lost,
                "standard output stalls: what was queued for it is lost"
            );
        }
    }

    fn format_human(&self, report: &Report) -> String {
        let time = report.time().to_zoned(self.style.zone.clone());
        let mut line = format!(
            "{} {}",
            time.strftime("%H:%M:%S%.3f"),
            escape::terminal(&report.sentence())
        );
        let Some(incident) = report.kills() else {
            return line;
        };
        let before = incident.before.as_ref();
        let sparkline = before.map_or_else(String::new, |before| before.sparkline(CELLS));
        if !sparkline.is_empty() {
            line.push(' ');
            line.push_str(&sparkline);
        }
        if let Some(cmdline) = incident
            .victims
            .first()
            .and_then(|victim| victim.cmdline.as_ref())
        {
            line.push_str(" — command line: ");
            line.push_str(&escape::terminal(&cmdline.join(" ")).to_string());
        }
        line
    }
}

// === impl Out ===

impl Out {
    fn write(&mut self, mut line: Vec<u8>) -> io::Result<()> {
        // Only when nothing is queued: lines keep their order.
        if self.queued.load(Ordering::Acquire) == 0
            && let Some(pipe) = &mut self.pipe
        {
            match pipe.write(&line) {
                Ok(written) if written == line.len() => return Ok(()),
                Ok(written) => {
                    line.drain(..written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        self.queued.fetch_add(1, Ordering::Relaxed);
        self.queue.try_send(line).map_err(|_| {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            io::Error::other("the reader stalls, and the queue is full")
        })
    }
}

fn format_json(report: &Report) -> serde_json::Result<Vec<u8>> {
    match report {
        Report::Incident(incident) => serde_json::to_vec(incident.as_ref()),
        Report::NoVictim(no_victim) => serde_json::to_vec(&no_victim.incident),
        Report::Mismatch(mismatch) => serde_json::to_vec(mismatch.as_ref()),
        Report::Warning(warning) => serde_json::to_vec(warning.as_ref()),
        Report::BadAnnotations(annotations) => serde_json::to_vec(&annotations.sentence()),
    }
}

/// `torn`: a line was cut before, and is ended first; or this one was.
fn write_whole(out: &mut impl Write, line: &[u8], torn: &mut bool) -> io::Result<()> {
    if *torn {
        out.write_all(b"\n")?;
        *torn = false;
    }
    let mut left = line;
    while !left.is_empty() {
        match out.write(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => left = left.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                *torn = left.len() < line.len();
                return Err(error);
            }
        }
    }
    out.flush()
}

/// Opens a pipe again: its flags are its own then, and other processes that share the inherited one keep
/// theirs.
fn open_nonblocking(path: &str) -> Option<File> {
    let pipe = OpenOptions::new()
        .write(true)
        .custom_flags(i32::try_from(OFlags::NONBLOCK.bits()).ok()?)
        .open(path)
        .ok()?;
    let is_pipe = pipe.metadata().ok()?.file_type().is_fifo();
    is_pipe.then_some(pipe)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::AsRawFd as _;

    use super::*;
    use crate::incident::{Incident, Victim};
    use crate::k8s::fake::leak;
    use crate::warn::tests::near;
    use pressure::Level;

    const WITHIN: Duration = Duration::from_secs(20);

    fn incident(n: u64) -> Incident {
        Incident {
            victim_count: 1,
            stamp_ns: n,
            ..Incident::new(
                format!("6f1c0a52-{n}-4242"),
                "2026-11-21T09:00:00.5Z".parse().unwrap(),
                "n".repeat(10_000),
            )
        }
    }

    fn report(n: u64) -> Report {
        Report::Incident(Arc::new(incident(n)))
    }

    fn lines() -> (Lines, File) {
        let (far, near) = rustix::pipe::pipe().unwrap();
        let pipe = open_nonblocking(&format!("/proc/self/fd/{}", near.as_raw_fd()));
        assert!(pipe.is_some());
        let lines = Lines::start(
            Style::kills_only(Format::Json, TimeZone::UTC),
            File::from(near),
            pipe,
            Counter::default(),
        );
        (lines.unwrap(), File::from(far))
    }

    fn ids(text: &str) -> Vec<String> {
        text.lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|line| line["id"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn a_human_line_ends_with_the_last_minute_and_the_command_line() {
        let (mut lines, _far) = lines();
        lines.style.format = Format::Human;
        let mut incident = incident(1);
        incident.victims = vec![Victim {
            process: oom_capture::Process {
                pid: 4242,
                comm: Some("tail".to_owned()),
                cmdline: Some(vec!["tail".to_owned(), "/dev/zero".to_owned()]),
                ..oom_capture::Process::default()
            },
            ..Victim::default()
        }];
        incident.before = Some(leak());
        assert_eq!(
            lines.format_human(&incident.into()),
            "09:00:00.500 tail (pid 4242) was OOM-killed — a leak: +1.0 MiB/s, from half to the limit in 32 s ▅▇█ — command line: tail /dev/zero"
        );
    }

    #[test]
    fn warnings_have_lines_only_if_enabled() {
        let (mut lines, mut far) = lines();
        let warning = Report::Warning(Arc::new(near(Level::Warning)));
        lines.offer(&warning);
        lines.style.warnings = true;
        lines.offer(&warning);
        let mut text = [0; 4096];
        let read = far.read(&mut text).unwrap();
        let lines = text[..read].split(|byte| *byte == b'\n');
        assert_eq!(lines.filter(|line| !line.is_empty()).count(), 1);
    }

    #[test]
    fn a_pipe_with_room_has_the_line_at_once() {
        let (lines, mut far) = lines();
        lines.offer(&report(1));
        // Not by the thread: its end would not wait.
        let mut first = [0; 1024];
        let read = far.read(&mut first).unwrap();
        assert!(first[..read].starts_with(br#"{"version":1,"id":"6f1c0a52-1-4242""#));
        assert_eq!(
            lines
                .out
                .lock()
                .as_ref()
                .unwrap()
                .queued
                .load(Ordering::Acquire),
            0
        );
    }

    #[tokio::test]
    async fn a_stalled_reader_gets_every_line_whole_and_in_order_later() {
        let (lines, mut far) = lines();
        // Far more than a pipe holds, so one is cut in two.
        for n in 0..40 {
            lines.offer(&report(n));
        }
        let reader = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            far.read_to_string(&mut text).unwrap();
            text
        });
        lines.finish(WITHIN).await;
        assert_eq!(lines.unwritten.get(), 0);
        drop(lines);
        let expected: Vec<String> = (0..40).map(|n| incident(n).id).collect();
        assert_eq!(ids(&reader.await.unwrap()), expected);
    }

    #[tokio::test]
    async fn lines_left_in_the_queue_are_counted() {
        let (lines, _far) = lines();
        for n in 0..40 {
            lines.offer(&report(n));
        }
        let queued = lines
            .out
            .lock()
            .as_ref()
            .unwrap()
            .queued
            .load(Ordering::Relaxed);
        assert!(queued > 0);
        lines.finish(Duration::from_millis(50)).await;
        assert_eq!(lines.unwritten.get(), queued);
    }

    #[test]
    fn a_torn_line_does_not_swallow_the_next() {
        // A disk that is full after so many bytes, once.
        struct Full(Vec<u8>, Option<usize>);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let room = match &mut self.1 {
                    Some(0) => {
                        self.1 = None;
                        return Err(io::ErrorKind::StorageFull.into());
                    }
                    Some(room) => {
                        let taken = bytes.len().min(*room);
                        *room -= taken;
                        taken
                    }
                    None => bytes.len(),
                };
                self.0.extend_from_slice(&bytes[..room]);
                Ok(room)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (mut out, mut torn) = (Full(Vec::new(), Some(6)), false);
        write_whole(&mut out, b"one\n", &mut torn).unwrap();
        write_whole(&mut out, b"two\n", &mut torn).unwrap_err();
        write_whole(&mut out, b"three\n", &mut torn).unwrap();
        assert_eq!(out.0, b"one\ntw\nthree\n");
    }

    #[tokio::test]
    async fn lines_without_room_in_the_queue_are_counted() {
        let (lines, far) = lines();
        let offered = QUEUE as u64 + 100;
        for n in 0..offered {
            lines.offer(&report(n));
        }
        let lost = lines.unwritten.get();
        assert!((1..100).contains(&lost), "{lost} of {offered}");
        drop(far);
    }
}
