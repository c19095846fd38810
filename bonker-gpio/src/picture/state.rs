//! The state of the picture. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use super::show;
use crate::client::HubSwing;
use crate::history::Board;
use crate::motion::Gesture;

/// Swings on the list, and those that are requested at the start.
const CAPACITY: usize = 50;

/// How the bonker is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Connecting,
    Watching,
    /// And why.
    Broken(String),
}

#[derive(Debug)]
pub(crate) struct Picture {
    pub(super) url: String,
    pub(super) link: Link,
    pub(super) total: u64,
    pub(super) last: Option<Timestamp>,
    pub(super) missed: u64,
    /// Newest first.
    pub(super) swings: VecDeque<HubSwing>,
    /// Namespaces by the swings that were listed.
    pub(super) board: Board,
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
            swings: VecDeque::new(),
            board: Board::default(),
            playing: None,
        }
    }

    pub(crate) fn set_link(&mut self, link: Link) {
        self.link = link;
    }

    /// The totals of the bonker's history, unless its swings are listed already.
    pub(crate) fn begin_at(&mut self, total: u64, last: Option<Timestamp>) {
        if self.swings.is_empty() {
            self.total = total;
            self.last = last;
        }
    }

    /// A swing, of now if its number is beyond the history's.
    pub(crate) fn add_swing(&mut self, swing: HubSwing, now: Duration) {
        let sequence = swing.position.sequence;
        if sequence > self.total {
            self.total = sequence;
            self.missed = self.missed.saturating_add(swing.missed);
            self.last = swing.swung_at.or(self.last);
            self.playing = Some((swing.gesture, now));
        }
        self.board.count(match swing.bonk.namespace.as_str() {
            "" => "(none)",
            namespace => namespace,
        });
        self.swings.push_front(swing);
        self.swings.truncate(CAPACITY);
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
}
