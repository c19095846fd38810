//! A child's lines, waited for with a deadline.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::interrupt::{self, Notified};

/// How many lines are kept to be searched; older ones are forgotten.
const KEPT: usize = 100_000;
/// How many of the last lines an error shows.
const SHOWN: usize = 30;

/// What a wait can end with.
#[derive(Debug)]
enum Event {
    /// A line, and when it came.
    Line(Instant, String),
    /// There is no more.
    End,
    /// A signal came.
    Interrupted,
}

/// The lines of one stream of a child process.
#[derive(Debug)]
pub struct Output {
    name: &'static str,
    events: Receiver<Event>,
    seen: VecDeque<(Instant, String)>,
    /// Why no more lines come.
    over: Option<&'static str>,
    _interrupt: Notified,
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
        let (sender, events) = sync_channel(unread);
        let interrupted = sender.clone();
        let interrupt = interrupt::notify(move || {
            // A reader with unread lines sees these first.
            let _ = interrupted.try_send(Event::Interrupted);
        });
        thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(n) if n > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                if sender.send(Event::Line(Instant::now(), text)).is_err() {
                    break;
                }
                line.clear();
            }
            let _ = sender.send(Event::End);
        });
        Self {
            name,
            events,
            seen: VecDeque::new(),
            over: None,
            _interrupt: interrupt,
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
        for (at, line) in &self.seen {
            if let Some(found) = pick(line) {
                return Ok((*at, found));
            }
        }
        let deadline = Instant::now() + limit;
        loop {
            if let Some(why) = self.over {
                bail!("{}: {why} without {what}{}", self.name, self.tail());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Event::Line(at, line)) => {
                    let found = pick(&line);
                    self.keep(at, line);
                    if let Some(found) = found {
                        return Ok((at, found));
                    }
                }
                Ok(Event::End) => self.over = Some("ended"),
                Ok(Event::Interrupted) => self.over = Some("interrupted"),
                Err(_) => bail!("{}: no {what} within {limit:?}{}", self.name, self.tail()),
            }
        }
    }

    /// Every line so far, oldest first.
    pub fn so_far(&mut self) -> impl Iterator<Item = &str> {
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::Line(at, line) => self.keep(at, line),
                Event::End => self.over = Some("ended"),
                Event::Interrupted => self.over = Some("interrupted"),
            }
        }
        self.seen.iter().map(|(_, line)| line.as_str())
    }

    /// Every line, once there are no more.
    pub fn to_end(&mut self, limit: Duration) -> Vec<String> {
        let deadline = Instant::now() + limit;
        while self.over.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Event::Line(at, line)) => self.keep(at, line),
                Ok(Event::Interrupted) => self.over = Some("interrupted"),
                Ok(Event::End) | Err(_) => self.over = Some("ended"),
            }
        }
        self.seen.iter().map(|(_, line)| line.clone()).collect()
    }

    fn keep(&mut self, at: Instant, line: String) {
        if self.seen.len() == KEPT {
            self.seen.pop_front();
        }
        self.seen.push_back((at, line));
    }

    fn tail(&self) -> String {
        let mut text = String::new();
        for (_, line) in self.seen.iter().skip(self.seen.len().saturating_sub(SHOWN)) {
            let _ = write!(text, "\n  | {line}");
        }
        text
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
            "test: ended without four\n  | one\n  | bad \u{fffd}"
        );
    }
}
