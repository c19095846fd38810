//! Reads what others write and stamps each line as it comes.
//!
//! Around a kill one CPU prints the kernel's report with preemption off, so a reader that is woken
//! there would measure itself. As in the agent there are two, each bound to half of the CPUs,
//! and they run before all ordinary threads where that is allowed.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use thread_priority::unix::{
    RealtimeThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};
use thread_priority::{ThreadPriority, ThreadPriorityValue};

/// Chunks that were not taken yet; then the readers wait.
const CHUNKS: usize = 65_536;
/// One read; also what a pipe holds.
const CHUNK: usize = 64 << 10;
/// Above the lowest, so that it holds against other threads of that kind.
const PRIORITY: u8 = 50;

/// A line of one of the streams, by that stream's place in the list, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) stream: usize,
    /// When it was read: `CLOCK_MONOTONIC`, in ns.
    pub(super) at_ns: u64,
    pub(super) text: String,
}

/// Reads until it is dropped.
#[derive(Debug)]
pub(super) struct Stopwatch {
    stop: Arc<OwnedFd>,
    threads: Vec<JoinHandle<()>>,
    chunks: Receiver<Chunk>,
    /// What has no end of line yet, by stream.
    begun: Vec<Vec<u8>>,
    /// The readers run before all ordinary threads.
    pub(super) first: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Chunk {
    stream: usize,
    at_ns: u64,
    bytes: Vec<u8>,
}

/// What the threads share. The lock is around the reads and their stamps.
#[derive(Debug)]
struct Streams {
    pipes: Vec<OwnedFd>,
    ended: Vec<AtomicBool>,
    reading: Mutex<Reading>,
}

#[derive(Debug)]
struct Reading {
    chunks: SyncSender<Chunk>,
    /// Made once: giving memory back to the kernel waits for every CPU, the printing one too.
    buffer: Vec<u8>,
}

/// `CLOCK_MONOTONIC` in ns: the clock of `bpf_ktime_get_ns`.
pub(super) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let rest = u64::try_from(now.tv_nsec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

// === impl Stopwatch ===

impl Stopwatch {
    pub(super) fn start(pipes: Vec<OwnedFd>) -> Result<Self> {
        for pipe in &pipes {
            rustix::io::ioctl_fionbio(pipe, true).context("make a pipe's reads not wait")?;
        }
        let (sender, chunks) = sync_channel(CHUNKS);
        let begun = pipes.iter().map(|_| Vec::new()).collect();
        let streams = Arc::new(Streams {
            ended: pipes.iter().map(|_| AtomicBool::new(false)).collect(),
            pipes,
            reading: Mutex::new(Reading {
                chunks: sender,
                buffer: vec![0; CHUNK],
            }),
        });
        let mut stopwatch = Self {
            stop: Arc::new(eventfd(0, EventfdFlags::CLOEXEC).context("make an eventfd")?),
            threads: Vec::new(),
            chunks,
            begun,
            first: Arc::new(AtomicBool::new(true)),
        };
        let cpus = sched_getaffinity(None).context("read the CPUs of this thread")?;
        for (n, cpus) in halves(&cpus).into_iter().enumerate() {
            let streams = Arc::clone(&streams);
            let stop = Arc::clone(&stopwatch.stop);
            let first = Arc::clone(&stopwatch.first);
            let thread = std::thread::Builder::new()
                .name(format!("stopwatch-{n}"))
                .spawn(move || {
                    let bound = sched_setaffinity(None, &cpus).is_ok();
                    if !(bound && run_first()) {
                        first.store(false, Ordering::Relaxed);
                    }
                    while matches!(streams.wait(&stop), Ok(true)) && streams.read() {}
                })
                .context("start a reader")?;
            stopwatch.threads.push(thread);
        }
        Ok(stopwatch)
    }

    /// The whole lines that came since the last call, in the order of their stamps.
    pub(super) fn lines(&mut self) -> Vec<Line> {
        let mut lines = Vec::new();
        for chunk in self.chunks.try_iter() {
            let Some(begun) = self.begun.get_mut(chunk.stream) else {
                continue;
            };
            cut(begun, &chunk, &mut lines);
        }
        lines
    }
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        // Never read: once written it wakes every thread.
        if rustix::io::write(&*self.stop, &1_u64.to_ne_bytes()).is_err() {
            return;
        }
        // A reader that waits for room is let go with the channel.
        self.chunks = sync_channel(0).1;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

// === impl Streams ===

impl Streams {
    /// Sleeps until there is something to read (true) or it is time to end (false).
    fn wait(&self, stop: &OwnedFd) -> io::Result<bool> {
        let pipes = self.pipes.iter().zip(&self.ended);
        let open = pipes.filter(|(_, ended)| !ended.load(Ordering::Relaxed));
        let mut fds: Vec<PollFd<'_>> = std::iter::once(stop)
            .chain(open.map(|(pipe, _)| pipe))
            .map(|fd| PollFd::new(fd, PollFlags::IN))
            .collect();
        loop {
            match poll(&mut fds, None) {
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => break,
            }
        }
        Ok(fds.first().is_some_and(|stop| stop.revents().is_empty()))
    }

    /// Takes what is there; false when nothing takes it any more.
    fn read(&self) -> bool {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let Reading { chunks, buffer } = &mut *reading;
        for (stream, (pipe, ended)) in self.pipes.iter().zip(&self.ended).enumerate() {
            if ended.load(Ordering::Relaxed) {
                continue;
            }
            match rustix::io::read(pipe, buffer.as_mut_slice()) {
                Ok(0) => ended.store(true, Ordering::Relaxed),
                Ok(size) => {
                    let chunk = Chunk {
                        stream,
                        at_ns: now_ns(),
                        bytes: buffer.get(..size).unwrap_or_default().to_vec(),
                    };
                    if chunks.send(chunk).is_err() {
                        return false;
                    }
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => ended.store(true, Ordering::Relaxed),
            }
        }
        true
    }
}

/// Puts the calling thread before all ordinary ones: `SCHED_FIFO`.
fn run_first() -> bool {
    let Ok(value) = ThreadPriorityValue::try_from(PRIORITY) else {
        return false;
    };
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let priority = ThreadPriority::Crossplatform(value);
    set_thread_priority_and_policy(thread_native_id(), priority, policy).is_ok()
}

/// Adds a chunk to what its stream has begun, and takes out the lines that it ends.
fn cut(begun: &mut Vec<u8>, chunk: &Chunk, lines: &mut Vec<Line>) {
    begun.extend_from_slice(&chunk.bytes);
    while let Some(end) = begun.iter().position(|byte| *byte == b'\n') {
        let rest = begun.split_off(end + 1);
        begun.truncate(end);
        lines.push(Line {
            stream: chunk.stream,
            at_ns: chunk.at_ns,
            text: String::from_utf8_lossy(begun).into_owned(),
        });
        *begun = rest;
    }
}

/// Every other CPU; all of them where there is one.
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
    use std::io::Write as _;
    use std::time::Duration;

    use super::*;
    use lab::wait;

    #[test]
    fn a_line_has_the_stamp_of_its_end() {
        let (mut begun, mut lines) = (Vec::new(), Vec::new());
        for (at_ns, bytes) in [(1, "o"), (2, "ne\ntwo\nth"), (3, "ree\n")] {
            let bytes = bytes.into();
            let chunk = Chunk {
                stream: 4,
                at_ns,
                bytes,
            };
            cut(&mut begun, &chunk, &mut lines);
        }
        let lines: Vec<_> = lines
            .iter()
            .map(|line| (line.stream, line.at_ns, line.text.as_str()))
            .collect();
        assert_eq!(lines, [(4, 2, "one"), (4, 2, "two"), (4, 3, "three")]);
    }

    #[test]
    fn every_stream_is_read_and_an_ended_one_disturbs_no_other() {
        let (first, mut to_first) = io::pipe().unwrap();
        let (second, to_second) = io::pipe().unwrap();
        drop(to_second);
        let mut stopwatch = Stopwatch::start(vec![second.into(), first.into()]).unwrap();
        let before = now_ns();
        to_first.write_all(b"hello\n").unwrap();
        let lines = wait::until("a line", Duration::from_secs(10), || {
            Some(stopwatch.lines()).filter(|lines| !lines.is_empty())
        });
        let lines = lines.unwrap();
        assert_eq!((lines[0].stream, lines[0].text.as_str()), (1, "hello"));
        assert!(lines[0].at_ns >= before && lines[0].at_ns <= now_ns());
    }
}
