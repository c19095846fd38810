//! The one task that moves the servo. It takes its jobs from the app.

mod heartbeat;

use std::io;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use service::error_chain::chain;
use tracing::{error, info};

use crate::admission::Job;
use crate::app::App;
use crate::motion::{End, Motion, Move, cut_short};
use crate::servo::{Servo, ServoError, ServoThread, WATCHDOG};
use crate::text::escape;
pub(crate) use heartbeat::Heartbeat;
use heartbeat::Requests;

/// Owns the servo; does nothing until [`Arm::run`].
pub struct Arm {
    servo: ServoThread,
    motion: Motion,
    app: App,
    heartbeat: Heartbeat,
    requests: Requests,
}

// === impl Arm ===

impl Arm {
    /// Fails if the system gives no thread for the servo.
    pub fn new(servo: Box<dyn Servo>, motion: Motion, app: App) -> io::Result<Self> {
        let (heartbeat, requests) = Heartbeat::new();
        Ok(Self {
            servo: ServoThread::start(servo, WATCHDOG)?,
            motion,
            app,
            heartbeat,
            requests,
        })
    }

    pub(crate) fn heartbeat(&self) -> Heartbeat {
        self.heartbeat.clone()
    }

    /// Boots to rest; then swings for the app's jobs until the app stops, cuts its swing short,
    /// rests and detaches.
    pub async fn run(mut self) {
        let boot = self.motion.boot();
        self.move_to_end("boot", &boot).await;
        self.app.set_booted();
        let stopping = self.app.stopping().clone();
        loop {
            // While the servo cools down, bonks stay in the queue: they coalesce and expire.
            let job = tokio::select! {
                biased;
                () = stopping.cancelled() => break,
                Some(request) = self.requests.recv() => {
                    // The watchdog may have given up.
                    let _ = request.send(());
                    continue;
                }
                job = next_job(&self.app, self.motion.wait_time(now())) => job,
            };
            let ok = self.swing(&job).await;
            self.app.finish_swing(ok);
        }
        let settle = self.motion.settle();
        self.move_to_end("stop", &settle).await;
    }

    /// False if a step failed.
    async fn swing(&mut self, job: &Job) -> bool {
        let gesture = self.motion.gesture(job.bonk.severity);
        let moves = self.motion.begin_gesture(gesture);
        let toggled = self.motion.end() == End::Strike;
        self.app.history().keep_toggled(toggled);
        let app = self.app.clone();
        let moved = |swung_at| app.record_swing(job, gesture, swung_at);
        let ok = self.perform(&moves, moved).await;
        // Logged after the swing: a line in the middle would tear the simulator's drawing.
        let (bonk, gesture) = (&job.bonk, gesture.name());
        let (id, place) = (escape(&bonk.id), escape(&bonk.place()));
        let (comm, others) = (escape(&bonk.comm), job.coalesced);
        if ok {
            info!(gesture, id, place, comm, others, "bonked");
        } else {
            error!(gesture, id, place, comm, others, "the swing failed");
        }
        ok
    }

    async fn move_to_end(&mut self, when: &'static str, moves: &[Move]) {
        if !self.perform(moves, |_| ()).await {
            error!(
                when,
                "the arm may not be at rest: check the servo and its supply"
            );
        }
    }

    /// Tries every move even after one failed, since the last one is the way back to rest; once
    /// the app stops, that one alone. Always detaches. Calls `moved` when the first pulse
    /// began. False if a move failed.
    async fn perform(&mut self, moves: &[Move], moved: impl FnOnce(Timestamp)) -> bool {
        let mut ok = true;
        let mut moved = Some(moved);
        let mut on = None;
        let mut left = moves;
        while let [next, rest @ ..] = left {
            let began = Timestamp::now();
            let (done, hold) = match *next {
                Move::Pulse(step) => {
                    on.get_or_insert_with(now);
                    (self.servo.drive(step).await, step.hold)
                }
                Move::Pause(pause) => (self.detach(&mut on).await, pause),
            };
            match done {
                Ok(()) => {
                    if let Some(moved) = moved.take() {
                        moved(began);
                    }
                    tokio::time::sleep(hold).await;
                }
                Err(why) => {
                    error!(error = %chain(&why), "a move failed");
                    moved = None;
                    ok = false;
                }
            }
            left = if self.app.stopping().is_cancelled() {
                cut_short(rest)
            } else {
                rest
            };
        }
        if let Err(why) = self.detach(&mut on).await {
            error!(error = %chain(&why), "the pulses may still be on");
            ok = false;
        }
        ok
    }

    /// Stops the pulses, which were on since `on`.
    async fn detach(&mut self, on: &mut Option<Instant>) -> Result<(), ServoError> {
        let done = self.servo.detach().await;
        if let Some(began) = on.take() {
            let ended = now();
            self.motion.record_pulses(began, ended);
            let on = ended.saturating_duration_since(began);
            self.app.counters().swings.add_pulses(on);
        }
        done
    }
}

/// The app's next job, after the `wait` for the servo's duty.
async fn next_job(app: &App, wait: Duration) -> Job {
    if !wait.is_zero() {
        info!(?wait, "the servo's duty is used up; the next bonk waits");
        tokio::time::sleep(wait).await;
    }
    app.next_job().await
}

/// Tokio's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
