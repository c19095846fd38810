//! The one task that owns the servo. It asks the desk what to do next.

mod heartbeat;

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::desk::{DeskHandle, Job};
use crate::report::chain;
use crate::servo::{Picked, Servo, ServoError};
use crate::swing::{Gesture, Limits, Step, Tempo, steps};
use crate::text::escape;
use heartbeat::Asked;
pub use heartbeat::Heartbeat;

/// Owns the servo; does nothing until [`Arm::run`].
pub struct Arm {
    servo: Arc<Mutex<Box<dyn Servo>>>,
    limits: Limits,
    tempo: Tempo,
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
    /// An arm for `picked` that keeps within `limits` and swings for `desk`.
    pub fn new(picked: Picked, limits: Limits, tempo: Tempo, desk: DeskHandle) -> Self {
        let (heartbeat, asked) = Heartbeat::new();
        Self {
            servo: Arc::new(Mutex::new(picked.servo)),
            limits,
            tempo,
            desk,
            backend: Backend {
                name: picked.name,
                reason: picked.reason,
            },
            heartbeat,
            asked,
        }
    }

    /// The desk it swings for.
    pub fn desk(&self) -> DeskHandle {
        self.desk.clone()
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
    /// finishes the swing it is in, rests and detaches. What still waits is dropped.
    pub async fn run(mut self, booted: oneshot::Sender<()>, stop: CancellationToken) {
        self.rest("boot").await;
        // Nobody listens if the server was stopped during the motion.
        let _ = booted.send(());
        loop {
            let job = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(asked) = self.asked.recv() => {
                    // Whoever asked may have given up.
                    let _ = asked.send(());
                    continue;
                }
                job = self.desk.next() => job,
            };
            let fine = self.swing(&job).await;
            self.desk.rested(fine);
        }
        self.desk.stop();
        self.rest("stop").await;
    }

    /// True if nothing failed.
    async fn swing(&self, job: &Job) -> bool {
        let gesture = Gesture::Bonk;
        let moved = |swung_at| self.desk.swung(job, gesture, swung_at);
        let fine = self.perform(gesture, moved).await;
        // Said after the swing: a line in the middle would tear the simulator's drawing.
        let bonk = &job.bonk;
        let (id, place) = (escape(&bonk.id), escape(&bonk.place()));
        let (comm, others) = (escape(&bonk.comm), job.coalesced);
        if fine {
            info!(id, place, comm, others, "bonked");
        } else {
            error!(id, place, comm, others, "the swing failed");
        }
        fine
    }

    async fn rest(&self, when: &'static str) {
        if !self.perform(Gesture::Rest, |_| ()).await {
            error!(
                when,
                "the arm may not be at rest: check the servo and its supply"
            );
        }
    }

    /// Tries every step even after one failed, since the last one is the way back to rest;
    /// always detaches. Calls `moved` if and when the first pulse is under way. True if
    /// nothing failed.
    async fn perform(&self, gesture: Gesture, moved: impl FnOnce(Timestamp)) -> bool {
        let mut fine = true;
        let mut moved = Some(moved);
        for step in steps(gesture, self.limits, self.tempo) {
            let began = Timestamp::now();
            let attempt = format!("move to {} µs", step.pulse_us);
            match self.ask(attempt, move |servo| servo.drive(&step)).await {
                Ok(()) => {
                    if let Some(moved) = moved.take() {
                        moved(began);
                    }
                    hold(&step).await;
                }
                Err(why) => {
                    error!(error = chain(&why), ?gesture, "a step failed");
                    moved = None;
                    fine = false;
                }
            }
        }
        if let Err(why) = self.ask("detach".to_owned(), Servo::detach).await {
            error!(error = chain(&why), ?gesture, "the pulses may still be on");
            fine = false;
        }
        fine
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

async fn hold(step: &Step) {
    tokio::time::sleep(step.hold).await;
}

#[cfg(test)]
mod tests;
