//! The one task that owns the servo. It asks the desk what to do next.

mod heartbeat;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::desk::{DeskHandle, Job};
use crate::motion::{End, Gesture, Motion, Move, Pose, cut_short};
use crate::report::chain;
use crate::servo::{Picked, Servo, ServoError, WATCHDOG, watched};
use crate::text::escape;
use heartbeat::Asked;
pub use heartbeat::Heartbeat;

/// Owns the servo; does nothing until [`Arm::run`].
pub struct Arm {
    servo: Arc<Mutex<Box<dyn Servo>>>,
    motion: Motion,
    desk: DeskHandle,
    backend: Backend,
    heartbeat: Heartbeat,
    asked: Asked,
}

/// What moves the servo.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Its name.
    pub name: &'static str,
    /// Why it was picked.
    pub reason: String,
}

// === impl Arm ===

impl Arm {
    /// An arm for `picked` that moves as `motion` says and swings for `desk`. Fails if the
    /// system gives no thread for the servo's watchdog.
    pub fn new(picked: Picked, motion: Motion, desk: DeskHandle) -> io::Result<Self> {
        let (heartbeat, asked) = Heartbeat::new();
        Ok(Self {
            servo: Arc::new(Mutex::new(watched(picked.servo, WATCHDOG)?)),
            motion,
            desk,
            backend: Backend {
                name: picked.name,
                reason: picked.reason,
            },
            heartbeat,
            asked,
        })
    }

    /// The desk it swings for.
    pub fn desk(&self) -> DeskHandle {
        self.desk.clone()
    }

    /// How each gesture that it may be asked for looks, beginning at rest.
    pub(crate) fn poses(&self) -> Vec<(Gesture, Vec<Pose>)> {
        self.motion.poses()
    }

    /// What it moves the servo with.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Whether its task answers.
    pub fn heartbeat(&self) -> Heartbeat {
        self.heartbeat.clone()
    }

    /// Goes to rest and says `booted`; then swings for whatever the desk has until `stop`,
    /// cuts the swing it is in short, rests and detaches. What still waits is dropped.
    pub async fn run(mut self, booted: oneshot::Sender<()>, stop: CancellationToken) {
        let boot = self.motion.boot();
        self.settle("boot", &boot, &stop).await;
        // Nobody listens if the server was stopped during the motion.
        let _ = booted.send(());
        loop {
            // While the servo cools down, bonks stay on the desk: they coalesce and expire.
            let job = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(asked) = self.asked.recv() => {
                    // Whoever asked may have given up.
                    let _ = asked.send(());
                    continue;
                }
                job = cooled(&self.desk, self.motion.wait(now())) => job,
            };
            let fine = self.swing(&job, &stop).await;
            self.desk.rested(fine);
        }
        self.desk.stop();
        let settle = self.motion.settle();
        self.settle("stop", &settle, &stop).await;
    }

    /// True if nothing failed.
    async fn swing(&mut self, job: &Job, stop: &CancellationToken) -> bool {
        let gesture = self.motion.gesture(job.bonk.severity);
        let moves = self.motion.begin(gesture);
        let toggled = self.motion.end() == End::Strike;
        self.desk.history().keep_toggled(toggled);
        let desk = self.desk.clone();
        let moved = |swung_at| desk.swung(job, gesture, swung_at);
        let fine = self.perform(&moves, moved, stop).await;
        // Said after the swing: a line in the middle would tear the simulator's drawing.
        let (bonk, gesture) = (&job.bonk, gesture.name());
        let (id, place) = (escape(&bonk.id), escape(&bonk.place()));
        let (comm, others) = (escape(&bonk.comm), job.coalesced);
        if fine {
            info!(gesture, id, place, comm, others, "bonked");
        } else {
            error!(gesture, id, place, comm, others, "the swing failed");
        }
        fine
    }

    async fn settle(&mut self, when: &'static str, moves: &[Move], stop: &CancellationToken) {
        if !self.perform(moves, |_| (), stop).await {
            error!(
                when,
                "the arm may not be at rest: check the servo and its supply"
            );
        }
    }

    /// Tries every move even after one failed, since the last one is the way back to rest;
    /// once `stop` came, that one alone. Always detaches. Calls `moved` if and when the first
    /// pulse is under way. True if nothing failed.
    async fn perform(
        &mut self,
        moves: &[Move],
        moved: impl FnOnce(Timestamp),
        stop: &CancellationToken,
    ) -> bool {
        let mut fine = true;
        let mut moved = Some(moved);
        let mut on = None;
        let mut left = moves;
        while let [next, rest @ ..] = left {
            let began = Timestamp::now();
            let (done, hold) = match *next {
                Move::Pulse(step) => {
                    on.get_or_insert_with(now);
                    let attempt = format!("move to {} µs", step.pulse_us);
                    let drive = move |servo: &mut dyn Servo| servo.drive(&step);
                    (self.ask(attempt, drive).await, step.hold)
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
                    error!(error = chain(&why), "a move failed");
                    moved = None;
                    fine = false;
                }
            }
            left = if stop.is_cancelled() {
                cut_short(rest)
            } else {
                rest
            };
        }
        if let Err(why) = self.detach(&mut on).await {
            error!(error = chain(&why), "the pulses may still be on");
            fine = false;
        }
        fine
    }

    /// Stops the pulses, which were on since `on`.
    async fn detach(&mut self, on: &mut Option<Instant>) -> Result<(), ServoError> {
        let done = self.ask("detach".to_owned(), Servo::detach).await;
        if let Some(began) = on.take() {
            let ended = now();
            self.motion.spent(began, ended);
            let on = ended.saturating_duration_since(began);
            self.desk.counts().pulsed(on);
        }
        done
    }

    /// Runs `call` where it may block. A panic there costs this call, not the arm.
    async fn ask<F>(&self, attempt: String, call: F) -> Result<(), ServoError>
    where
        F: FnOnce(&mut dyn Servo) -> Result<(), ServoError> + Send + 'static,
    {
        let servo = Arc::clone(&self.servo);
        let called = tokio::task::spawn_blocking(move || {
            let mut servo = servo.lock().unwrap_or_else(PoisonError::into_inner);
            call(servo.as_mut())
        });
        match called.await {
            Ok(result) => result,
            Err(_) => Err(ServoError::Panicked { attempt }),
        }
    }
}

/// The desk's next job, once the servo's duty has room for it.
async fn cooled(desk: &DeskHandle, wait: Duration) -> Job {
    if !wait.is_zero() {
        info!(?wait, "the servo's duty is used up; the next bonk waits");
        tokio::time::sleep(wait).await;
    }
    desk.next().await
}

/// Tokio's, which tests can hold.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
