//! The state of a running bonker. Every inlet calls the `App`, and the arm takes its jobs from it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use strum::VariantArray as _;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::admission::{Admission, Answer, Job, Moment, Next, Outcome, Settings, Tally};
use crate::bonk::{Bonk, Malformed};
use crate::counters::{Counters, FollowCounters};
use crate::history::{History, Position, Swing};
use crate::motion::{Gesture, Motion, Pose};
use crate::net::limits::Throttle;
use crate::servo::Backend;
use crate::text::escape;

/// How many swings a watcher may lag behind before it misses some.
const WATCH_CAPACITY: usize = 64;

/// Cheap to clone; clones share the state.
#[derive(Clone)]
pub struct App(Arc<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Swings since the start whose first pulse the servo took.
    pub swings: u64,
    /// Swings since the start of which the servo failed a step.
    pub failed_swings: u64,
    /// Jobs that wait, without the one that the arm swings for.
    pub queue_length: usize,
    pub queue_capacity: usize,
    pub tally: Tally,
    /// Swings in the whole history.
    pub total_swings: u64,
    /// When the last of them began.
    pub last_swing_at: Option<Timestamp>,
    /// Where the history ends.
    pub position: Position,
    pub snoozed_until: Option<Timestamp>,
}

struct Inner {
    state: Mutex<State>,
    /// Wakes the arm: there may be a job for it.
    submitted: Notify,
    /// An item left the queue, or its swing is in the history.
    progress: Notify,
    swings: broadcast::Sender<Swing>,
    snoozes: watch::Sender<Option<Timestamp>>,
    history: History,
    counters: Counters,
    started: Instant,
    refused: [Throttle; Outcome::VARIANTS.len()],
    backend: Backend,
    poses: Vec<(Gesture, Vec<Pose>)>,
    booted: watch::Sender<bool>,
    stopping: CancellationToken,
}

struct State {
    admission: Admission,
    swings: u64,
    failed: u64,
}

// === impl App ===

impl App {
    /// Continues where `history` ends, and writes into it. `backend` and `motion` are shown to
    /// clients; the arm has the servo.
    pub fn new(settings: Settings, history: History, backend: Backend, motion: &Motion) -> Self {
        let (swings, _) = broadcast::channel(WATCH_CAPACITY);
        let mut admission = Admission::new(settings);
        admission.restore(history.take_restored());
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                admission,
                swings: 0,
                failed: 0,
            }),
            submitted: Notify::new(),
            progress: Notify::new(),
            swings,
            snoozes: watch::Sender::default(),
            history,
            counters: Counters::default(),
            started: Instant::now(),
            refused: Default::default(),
            backend,
            poses: motion.poses(),
            booted: watch::Sender::default(),
            stopping: CancellationToken::new(),
        }))
    }

    /// Answers an item at once. `peer` is the address whose rate it counts against; items of
    /// this process itself have none.
    pub(crate) fn submit(&self, item: Result<Bonk, Malformed>, peer: Option<IpAddr>) -> Answer {
        self.decide(&mut self.state(), item, peer)
    }

    /// Answers an item that another bonker swung for, if there is room for it; otherwise offer
    /// it again after [`App::progress`].
    pub(crate) fn offer(&self, item: &Result<Bonk, Malformed>) -> Option<Answer> {
        let mut state = self.state();
        let has_room = state.admission.has_room();
        has_room.then(|| self.decide(&mut state, item.clone(), None))
    }

    fn decide(
        &self,
        state: &mut State,
        item: Result<Bonk, Malformed>,
        peer: Option<IpAddr>,
    ) -> Answer {
        let id = item.as_ref().ok().map(|bonk| bonk.id.clone());
        let answer = state.admission.submit(item, peer, self.now());
        // That an item was accepted is kept together with its swing: until then it waits in
        // memory only, and has to be accepted again if it is sent again after a crash.
        if let Some(id) = &id
            && answer.outcome.is_final()
            && answer.outcome != Outcome::Accepted
        {
            self.0.history.keep_answer(id, answer.outcome.name());
        }
        let (id, outcome) = (id.unwrap_or_default(), answer.outcome.name());
        match answer.outcome {
            Outcome::Accepted => self.0.submitted.notify_one(),
            Outcome::Full | Outcome::RateLimited | Outcome::Rejected => {
                let times = self.0.refused.get(answer.outcome as usize);
                if let Some(times) = times.and_then(Throttle::count) {
                    let (id, why) = (escape(&id), escape(&answer.message));
                    warn!(id, outcome, why, times, "refused a bonk");
                }
            }
            _ => (),
        }
        debug!(id = escape(&id), outcome, "answered");
        answer
    }

    /// Whether the arm has still to swing for an item that was ACCEPTED.
    pub(crate) fn is_pending(&self, id: &str) -> bool {
        self.state().admission.is_pending(id)
    }

    /// Resolves when, from now on, an item leaves the queue or the arm swings for it.
    pub(crate) fn progress(&self) -> Notified<'_> {
        self.0.progress.notified()
    }

    /// Pauses all swings for `span`, at most [`MAX_SNOOZE`](crate::admission::MAX_SNOOZE); zero
    /// ends the pause. Returns its end.
    pub fn snooze(&self, span: Duration) -> Option<Timestamp> {
        let until = {
            let mut state = self.state();
            let until = state.admission.snooze(span, self.now());
            self.0.history.keep_snooze(until);
            // Under the state's lock, so that watchers see the order of the calls.
            self.0.snoozes.send_replace(until);
            until
        };
        if let Some(until) = until {
            info!(%until, "snoozed");
        } else {
            info!("the snooze is over");
        }
        until
    }

    pub fn status(&self) -> Status {
        let state = self.state();
        let history = &self.0.history;
        Status {
            swings: state.swings,
            failed_swings: state.failed,
            queue_length: state.admission.queue_length(),
            queue_capacity: state.admission.queue_capacity(),
            tally: state.admission.tally(),
            total_swings: history.total(),
            last_swing_at: history.last(),
            position: history.position(history.total()),
            snoozed_until: state.admission.snoozed_until(self.now()),
        }
    }

    /// The swings from now on.
    pub fn watch(&self) -> broadcast::Receiver<Swing> {
        self.0.swings.subscribe()
    }

    pub(crate) fn watchers(&self) -> usize {
        self.0.swings.receiver_count()
    }

    /// Snoozes as they are set; the end of one by itself sends nothing.
    pub(crate) fn watch_snoozes(&self) -> watch::Receiver<Option<Timestamp>> {
        self.0.snoozes.subscribe()
    }

    pub fn history(&self) -> &History {
        &self.0.history
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// `None` if this bonker follows no other.
    pub fn following(&self) -> Option<&FollowCounters> {
        self.0.counters.following.get()
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.0.backend
    }

    /// How each gesture of the arm looks.
    pub(crate) fn poses(&self) -> &[(Gesture, Vec<Pose>)] {
        &self.0.poses
    }

    /// Resolves after the boot motion.
    pub async fn booted(&self) {
        // The sender lives as long as this.
        let _ = self.0.booted.subscribe().wait_for(|booted| *booted).await;
    }

    /// The servo has booted, and the bonker does not stop.
    pub(crate) fn is_ready(&self) -> bool {
        *self.0.booted.borrow() && !self.0.stopping.is_cancelled()
    }

    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.0.stopping
    }

    /// Rejects all further items, drops those that wait, and cancels [`App::stopping`].
    pub(crate) fn stop(&self) {
        let dropped = self.state().admission.stop();
        if dropped > 0 {
            warn!(dropped, "stopping: the bonks that still waited are dropped");
        }
        self.0.stopping.cancel();
    }

    pub(crate) fn set_booted(&self) {
        self.0.booted.send_replace(true);
    }

    /// The next job, as soon as there is one and the arm's pause is over. The arm calls
    /// [`App::finish_swing`] before it takes another one.
    pub(crate) async fn next_job(&self) -> Job {
        loop {
            // Registered before the call, so that no item is missed.
            let submitted = self.0.submitted.notified();
            let next = self.state().admission.next(self.now());
            self.0.progress.notify_waiters();
            match next {
                Next::Swing(job) => return *job,
                Next::Idle => submitted.await,
                Next::WaitUntil(up) => tokio::select! {
                    () = submitted => (),
                    () = tokio::time::sleep_until(self.0.started + up) => (),
                },
            }
        }
    }

    /// The first pulse for `job` began at `swung_at`.
    pub(crate) fn record_swing(&self, job: &Job, gesture: Gesture, swung_at: Timestamp) {
        let mut state = self.state();
        state.swings += 1;
        self.0.counters.swings.count(gesture, &job.bonk.source);
        let name = Outcome::Accepted.name();
        let swing = self.0.history.record(
            &job.accepted,
            name,
            Swing {
                bonk: Arc::new(job.bonk.clone()),
                swings: state.swings,
                swung_at,
                gesture,
                coalesced: job.coalesced,
                position: Position::default(),
            },
        );
        state.admission.swing_recorded();
        // Under the state's lock, so that watchers see the history's order. An error means that
        // there are none.
        let _ = self.0.swings.send(swing);
        self.0.progress.notify_waiters();
    }

    /// The arm is back at rest; `ok` if no step failed.
    pub(crate) fn finish_swing(&self, ok: bool) {
        let now = self.now();
        let mut state = self.state();
        state.failed += u64::from(!ok);
        state.admission.finish_swing(now);
        self.0.progress.notify_waiters();
    }

    fn now(&self) -> Moment {
        Moment {
            wall: Timestamp::now(),
            up: self.0.started.elapsed(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
