//! A child's lines, waited for with a deadline.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::interrupt;

/// How many lines are kept to be searched; older ones are forgotten.
const KEPT: usize = 100_000;
/// How many of the last lines an error shows.
const SHOWN: usize = 30;
/// How soon a signal ends a wait.
const SLICE: Duration = Duration::from_millis(100);

/// A line, and when it came.
type Line = (Instant, String);

/// The lines of one stream of a child process.
#[derive(Debug)]
pub struct Output {
    name: &'static str,
    lines: Receiver<Line>,
    seen: VecDeque<Line>,
}

impl Output {
    /// Reads `stream` on a thread of its own, until its end. `name` is for errors.
    pub fn new(name: &'static str, stream: impl Read + Send + 'static) -> Self {
        Self::with_room(name, stream, KEPT)
    }

    /// The same for a child of few words: `unread` lines wait at most, and the room for them is
    /// taken at once.
    pub(crate) fn with_room(
        name: &'static str,
        stream: impl Read + Send + 'static,
        unread: usize,
    ) -> Self {
        let (sender, lines) = sync_channel(unread);
        thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(n) if n > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                if sender.send((Instant::now(), text)).is_err() {
                    break;
                }
                line.clear();
            }
        });
        Self {
            name,
            lines,
            seen: VecDeque::new(),
        }
    }

    /// The first line, past or to come within `limit`, that `pick` makes
    /// something of.
    pub fn find<T>(
        &mut self,
        what: &str,
        limit: Duration,
        pick: impl FnMut(&str) -> Option<T>,
    ) -> Result<T> {
        self.find_at(what, limit, pick).map(|(_, found)| found)
    }

    /// As [`Output::find`], with when the line was read.
    pub fn find_at<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut pick: impl FnMut(&str) -> Option<T>,
    ) -> Result<(Instant, T)> {
        let mut pick = |(at, line): &Line| Some((*at, pick(line)?));
        if let Some(found) = self.seen.iter().find_map(&mut pick) {
            return Ok(found);
        }
        let deadline = Instant::now() + limit;
        loop {
            match self.read(deadline) {
                Ok(line) => {
                    let found = pick(&line);
                    self.keep(line);
                    if let Some(found) = found {
                        return Ok(found);
                    }
                }
                Err(why) => {
                    let (name, tail) = (self.name, self.tail());
                    bail!("{name}: {why} without {what} within {limit:?}{tail}");
                }
            }
        }
    }

    /// Every line so far, oldest first.
    pub fn so_far(&mut self) -> impl Iterator<Item = &str> {
        while let Ok(line) = self.lines.try_recv() {
            self.keep(line);
        }
        self.seen.iter().map(|(_, line)| line.as_str())
    }

    /// Every line, once there are no more.
    pub fn to_end(&mut self, limit: Duration) -> Vec<String> {
        let deadline = Instant::now() + limit;
        while let Ok(line) = self.read(deadline) {
            self.keep(line);
        }
        self.seen.iter().map(|(_, line)| line.clone()).collect()
    }

    /// The next line, or why there is none.
    fn read(&self, deadline: Instant) -> Result<Line, &'static str> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left.min(SLICE)) {
                Ok(line) => return Ok(line),
                Err(RecvTimeoutError::Disconnected) => return Err("ended"),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return Err("went on"),
                Err(RecvTimeoutError::Timeout) if interrupt::check().is_err() => {
                    return Err("interrupted");
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn keep(&mut self, line: Line) {
        if self.seen.len() == KEPT {
            self.seen.pop_front();
        }
        self.seen.push_back(line);
    }

    /// The last lines, each on a line of its own.
    pub(crate) fn tail(&mut self) -> String {
        let skipped = self.so_far().count().saturating_sub(SHOWN);
        self.so_far()
            .skip(skipped)
            .fold(String::new(), |mut text, line| {
                let _ = write!(text, "\n  | {line}");
                text
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn finds_in_the_past_and_the_future() {
        let mut output = Output::new("test", Cursor::new("one\ntwo\nthree\n"));
        let find = |output: &mut Output, wanted: &str| {
            output.find(wanted, SECOND, |line| (line == wanted).then_some(()))
        };
        find(&mut output, "two").unwrap();
        find(&mut output, "one").unwrap();
        find(&mut output, "three").unwrap();
        assert_eq!(output.so_far().count(), 3);
    }

    #[test]
    fn an_end_shows_the_last_lines() {
        let mut output = Output::new("test", Cursor::new(b"one\nbad \xff\n"));
        let error = output.find("four", SECOND, |_| None::<()>).unwrap_err();
        assert_eq!(
            error.to_string(),
            "test: ended without four within 1s\n  | one\n  | bad \u{fffd}"
        );
    }
}
