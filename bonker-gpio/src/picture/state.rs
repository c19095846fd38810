//! The state of the picture. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

use super::show;
use crate::bonk::Bonk;
use crate::motion::Gesture;

/// Swings on the list, and those that are requested at the start.
const CAPACITY: usize = 50;

/// Namespaces that are counted.
const NAMESPACES: usize = 256;

/// How the bonker is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Connecting,
    Watching,
    /// And why.
    Broken(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) bonk: Bonk,
    pub(crate) swung_at: Option<Timestamp>,
    pub(crate) gesture: Gesture,
    /// Further bonks of the same container.
    pub(crate) coalesced: u64,
    /// Its number in the history.
    pub(crate) sequence: u64,
}

#[derive(Debug)]
pub(crate) struct Picture {
    pub(super) url: String,
    pub(super) link: Link,
    pub(super) total: u64,
    pub(super) last: Option<Timestamp>,
    pub(super) missed: u64,
    /// Newest first.
    pub(super) entries: VecDeque<Entry>,
    namespaces: BTreeMap<String, u64>,
    /// The gesture that moves, and since when.
    playing: Option<(Gesture, Duration)>,
}

// === impl Picture ===

impl Picture {
    pub(crate) const CAPACITY: u64 = CAPACITY as u64;

    pub(crate) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            link: Link::Connecting,
            total: 0,
            last: None,
            missed: 0,
            entries: VecDeque::new(),
            namespaces: BTreeMap::new(),
            playing: None,
        }
    }

    /// True if the link changed.
    pub(crate) fn set_link(&mut self, link: Link) -> bool {
        let news = self.link != link;
        self.link = link;
        news
    }

    /// The totals of the bonker's history.
    pub(crate) fn set_totals(&mut self, total: u64, last: Option<Timestamp>) {
        self.total = total;
        self.last = last;
    }

    /// A swing, of now if its number is beyond the history's, with `missed` ones before it.
    pub(crate) fn add_swing(&mut self, entry: Entry, missed: u64, now: Duration) {
        if entry.sequence > self.total {
            self.total = entry.sequence;
            self.missed = self.missed.saturating_add(missed);
            self.last = entry.swung_at.or(self.last);
            self.playing = Some((entry.gesture, now));
        }
        let namespace = &entry.bonk.namespace;
        if self.namespaces.len() < NAMESPACES || self.namespaces.contains_key(namespace) {
            *self.namespaces.entry(namespace.clone()).or_default() += 1;
        }
        self.entries.push_front(entry);
        self.entries.truncate(CAPACITY);
    }

    /// Whether the hammer is down, and after which time that changes; never while nothing
    /// moves.
    pub(crate) fn hammer(&self, now: Duration) -> (bool, Option<Duration>) {
        let moment = self
            .playing
            .and_then(|(gesture, since)| show::moment(gesture, now.saturating_sub(since)));
        match moment {
            Some((down, left)) => (down, Some(left)),
            None => (false, None),
        }
    }

    /// Namespaces and their swings of those that were listed, the worst first.
    pub(super) fn board(&self) -> Vec<(&str, u64)> {
        let mut board: Vec<_> = self
            .namespaces
            .iter()
            .map(|(name, n)| (name.as_str(), *n))
            .collect();
        board.sort_by_key(|(_, swings)| std::cmp::Reverse(*swings));
        board
    }
}
