//! The desk, shared: the one door for all that submit, ask or watch, and for the arm.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::answer::{Answer, Outcome, Tally};
use super::decide::{Desk, Next};
use super::moment::Moment;
use super::queue::Job;
use super::settings::Settings;
use crate::bonk::{Bonk, Malformed};
use crate::bounds::Throttle;
use crate::follow::Following;
use crate::history::{History, Position, Swung};
use crate::metrics::SwingCounts;
use crate::motion::Gesture;
use crate::text::escape;

/// How many swings a watcher may lag behind before it misses some.
pub const WATCH_CAPACITY: usize = 64;

/// Cheap to clone; clones share the desk.
#[derive(Clone)]
pub struct DeskHandle(Arc<Shared>);

/// How the desk fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Swings since the start whose first pulse the servo took.
    pub swings: u64,
    /// Swings since the start of which the servo failed a step.
    pub failed_swings: u64,
    /// Jobs that wait, the one being swung for not included.
    pub queue_length: usize,
    /// How many may wait.
    pub queue_capacity: usize,
    /// Answers since the start.
    pub tally: Tally,
    /// Swings in the whole history.
    pub total_swings: u64,
    /// When the last of them began.
    pub last_swing_at: Option<Timestamp>,
    /// Where the history ends.
    pub position: Position,
    /// Until when the penguin is left in peace.
    pub snoozed_until: Option<Timestamp>,
}

struct Shared {
    state: Mutex<State>,
    /// Something changed that the arm may want to know.
    changed: Notify,
    /// An item left the queue, or its swing is in the history.
    progress: Notify,
    swung: broadcast::Sender<Swung>,
    snoozed: watch::Sender<Option<Timestamp>>,
    history: History,
    opened: Instant,
    dropped: [Throttle; Outcome::ALL.len()],
    counts: SwingCounts,
    /// If another bonker is followed.
    following: OnceLock<Following>,
}

struct State {
    desk: Desk,
    swings: u64,
    failed: u64,
}

// === impl DeskHandle ===

impl DeskHandle {
    /// A desk that goes on where `history` ends, and writes into it.
    pub fn new(settings: Settings, history: History) -> Self {
        let (swung, _) = broadcast::channel(WATCH_CAPACITY);
        let mut desk = Desk::new(settings);
        desk.restore(history.kept());
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                desk,
                swings: 0,
                failed: 0,
            }),
            changed: Notify::new(),
            progress: Notify::new(),
            swung,
            snoozed: watch::Sender::default(),
            history,
            opened: Instant::now(),
            dropped: Default::default(),
            counts: SwingCounts::default(),
            following: OnceLock::new(),
        }))
    }

    /// Answers an item at once. `peer` is whose rate it counts against; what comes from
    /// this process itself has none.
    pub(crate) fn submit(&self, item: Result<Bonk, Malformed>, peer: Option<IpAddr>) -> Answer {
        let id = item.as_ref().ok().map(|bonk| bonk.id.clone());
        let id = id.unwrap_or_default();
        let answer = {
            let mut state = self.state();
            self.decide(&mut state, item, peer)
        };
        self.answered(&id, &answer);
        answer
    }

    /// Answers an item that another bonker swung for, if there is room for it; else
    /// [`DeskHandle::progress`] tells when to offer it again.
    pub(crate) fn offer(&self, item: &Result<Bonk, Malformed>) -> Option<Answer> {
        let id = item.as_ref().map_or("", |bonk| &bonk.id);
        let answer = {
            let mut state = self.state();
            if !state.desk.has_room() {
                return None;
            }
            self.decide(&mut state, item.clone(), None)
        };
        self.answered(id, &answer);
        Some(answer)
    }

    fn decide(
        &self,
        state: &mut State,
        item: Result<Bonk, Malformed>,
        peer: Option<IpAddr>,
    ) -> Answer {
        let id = item.as_ref().ok().map(|bonk| bonk.id.clone());
        let answer = state.desk.submit(item, peer, self.now());
        // That an item was accepted is kept together with its swing: until then it waits in
        // memory only, and whoever sends it again after a crash is to be heard.
        if let Some(id) = id
            && answer.outcome.is_final()
            && answer.outcome != Outcome::Accepted
        {
            self.0.history.keep_answer(&id, answer.outcome.name());
        }
        answer
    }

    fn answered(&self, id: &str, answer: &Answer) {
        match answer.outcome {
            Outcome::Accepted => self.0.changed.notify_one(),
            Outcome::Full | Outcome::RateLimited | Outcome::Rejected => {
                let times = self.0.dropped.get(answer.outcome as usize);
                if let Some(times) = times.and_then(Throttle::count) {
                    let (outcome, why) = (answer.outcome.name(), escape(&answer.message));
                    let id = escape(id);
                    warn!(id, outcome, why, times, "turned a bonk away");
                }
            }
            _ => (),
        }
        debug!(id = escape(id), outcome = answer.outcome.name(), "answered");
    }

    /// Whether an item that was ACCEPTED is still to be swung for.
    pub(crate) fn waits(&self, id: &str) -> bool {
        self.state().desk.waits(id)
    }

    /// Resolves when, from now on, an item leaves the queue or is swung for.
    pub(crate) fn progress(&self) -> Notified<'_> {
        self.0.progress.notified()
    }

    /// Leaves the penguin in peace for `span`, at most [`MAX_SNOOZE`](super::MAX_SNOOZE);
    /// zero ends it. Returns until when.
    pub fn snooze(&self, span: Duration) -> Option<Timestamp> {
        let until = {
            let mut state = self.state();
            let until = state.desk.snooze(span, self.now());
            self.0.history.keep_snooze(until);
            // In the state's lock: who watches is told in the order of the calls.
            self.0.snoozed.send_replace(until);
            until
        };
        if let Some(until) = until {
            info!(%until, "snoozed");
        } else {
            info!("the snooze is over");
        }
        until
    }

    /// How the desk fares.
    pub fn status(&self) -> Status {
        let state = self.state();
        Status {
            swings: state.swings,
            failed_swings: state.failed,
            queue_length: state.desk.queue_length(),
            queue_capacity: state.desk.queue_capacity(),
            tally: state.desk.tally(),
            total_swings: self.0.history.total(),
            last_swing_at: self.0.history.last(),
            position: self.0.history.position(self.0.history.total()),
            snoozed_until: state.desk.snoozed_until(self.now()),
        }
    }

    /// The swings from now on.
    pub fn watch(&self) -> broadcast::Receiver<Swung> {
        self.0.swung.subscribe()
    }

    /// How many are told of each swing.
    pub(crate) fn watchers(&self) -> usize {
        self.0.swung.receiver_count()
    }

    /// Another bonker is followed.
    pub(crate) fn follows(&self, following: Following) {
        // One is, at most; the first stays.
        let _ = self.0.following.set(following);
    }

    /// How following another bonker fares, if one is followed.
    pub(crate) fn following(&self) -> Option<&Following> {
        self.0.following.get()
    }

    /// The swings since the start, counted for Prometheus.
    pub(crate) fn counts(&self) -> &SwingCounts {
        &self.0.counts
    }

    /// Until when the penguin is left in peace, as somebody last said; the end of a snooze
    /// by itself is not told.
    pub(crate) fn watch_snooze(&self) -> watch::Receiver<Option<Timestamp>> {
        self.0.snoozed.subscribe()
    }

    /// The swings so far.
    pub fn history(&self) -> &History {
        &self.0.history
    }

    /// Rejects whatever comes from now on, and drops what waits.
    pub(crate) fn stop(&self) {
        let dropped = self.state().desk.stop();
        if dropped > 0 {
            warn!(dropped, "stopping: the bonks that still waited are dropped");
        }
    }

    /// The next job, as soon as there is one and the arm may. The arm says
    /// [`DeskHandle::rested`] before it asks again.
    pub(crate) async fn next(&self) -> Job {
        loop {
            // Before the desk is asked: what changes after that is not slept through.
            let changed = self.0.changed.notified();
            let next = self.state().desk.next(self.now());
            self.0.progress.notify_waiters();
            match next {
                Next::Swing(job) => return *job,
                Next::Idle => changed.await,
                Next::WaitUntil(up) => tokio::select! {
                    () = changed => (),
                    () = tokio::time::sleep_until(self.0.opened + up) => (),
                },
            }
        }
    }

    /// The first pulse for `job` is under way, since `swung_at`.
    pub(crate) fn swung(&self, job: &Job, gesture: Gesture, swung_at: Timestamp) {
        let mut state = self.state();
        state.swings += 1;
        self.0.counts.count(gesture, &job.bonk.source);
        let name = Outcome::Accepted.name();
        let swung = self.0.history.record(
            &job.accepted,
            name,
            Swung {
                bonk: Arc::new(job.bonk.clone()),
                swings: state.swings,
                swung_at,
                gesture,
                coalesced: job.coalesced,
                position: Position::default(),
            },
        );
        state.desk.told();
        // In the state's lock, so that watchers are told in the history's order. An error
        // means that nobody watches.
        let _ = self.0.swung.send(swung);
        self.0.progress.notify_waiters();
    }

    /// The arm is back at rest; whether everything went `fine`.
    pub(crate) fn rested(&self, fine: bool) {
        let now = self.now();
        let mut state = self.state();
        state.failed += u64::from(!fine);
        state.desk.rested(now);
        self.0.progress.notify_waiters();
    }

    fn now(&self) -> Moment {
        Moment {
            wall: Timestamp::now(),
            up: self.0.opened.elapsed(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
