//! The one task that owns the servo, and the handle through which everybody else asks it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::bonk::Bonk;
use crate::report::chain;
use crate::servo::{Picked, Servo, ServoError};
use crate::swing::{Gesture, Limits, Step, Tempo, steps};
use crate::text::escape;

/// How many bonks may wait for the servo.
pub const QUEUE_CAPACITY: usize = 64;

/// How many swings a watcher may lag behind before it misses some.
pub const WATCH_CAPACITY: usize = 64;

/// Owns the servo; does nothing until [`Arm::run`].
pub struct Arm {
    servo: Arc<Mutex<Box<dyn Servo>>>,
    limits: Limits,
    tempo: Tempo,
    queue: mpsc::Receiver<Bonk>,
    handle: ArmHandle,
}

/// Asks the arm, and tells how it fares. Cheap to clone.
#[derive(Clone)]
pub struct ArmHandle {
    queue: mpsc::Sender<Bonk>,
    swung: broadcast::Sender<Swung>,
    shared: Arc<Shared>,
}

/// A swing, told to watchers once its first pulse is under way.
#[derive(Clone, Debug)]
pub struct Swung {
    /// Why the arm swung.
    pub bonk: Arc<Bonk>,
    /// Swings so far, this one included.
    pub swings: u64,
    /// When the first pulse began.
    pub swung_at: Timestamp,
}

/// Why a bonk was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotQueued {
    Full,
    Stopped,
}

struct Shared {
    backend: &'static str,
    reason: String,
    swings: AtomicU64,
    failed: AtomicU64,
}

// === impl Arm ===

impl Arm {
    /// An arm for `picked` that keeps within `limits`.
    pub fn new(picked: Picked, limits: Limits, tempo: Tempo) -> Self {
        let (sender, queue) = mpsc::channel(QUEUE_CAPACITY);
        let (swung, _) = broadcast::channel(WATCH_CAPACITY);
        let shared = Arc::new(Shared {
            backend: picked.name,
            reason: picked.reason,
            swings: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        Self {
            servo: Arc::new(Mutex::new(picked.servo)),
            limits,
            tempo,
            queue,
            handle: ArmHandle {
                queue: sender,
                swung,
                shared,
            },
        }
    }

    /// A handle to this arm.
    pub fn handle(&self) -> ArmHandle {
        self.handle.clone()
    }

    /// Goes to rest and says `booted`; then swings for whatever is queued until `stop`,
    /// finishes the swing it is in, rests and detaches. What still waits is dropped.
    pub async fn run(mut self, booted: oneshot::Sender<()>, stop: CancellationToken) {
        self.rest("boot").await;
        // Nobody listens if the server was stopped during the motion.
        let _ = booted.send(());
        loop {
            let bonk = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                bonk = self.queue.recv() => bonk,
            };
            let Some(bonk) = bonk else { break };
            self.swing(bonk).await;
        }
        self.queue.close();
        let dropped = self.queue.len();
        if dropped > 0 {
            warn!(dropped, "stopping: the bonks that still waited are dropped");
        }
        self.rest("stop").await;
    }

    async fn swing(&self, bonk: Bonk) {
        let shared = &self.handle.shared;
        let bonk = Arc::new(bonk);
        let moved = |swung_at| {
            let swings = shared.swings.fetch_add(1, Ordering::Relaxed) + 1;
            // An error means that nobody watches.
            let _ = self.handle.swung.send(Swung {
                bonk: Arc::clone(&bonk),
                swings,
                swung_at,
            });
        };
        let fine = self.perform(Gesture::Bonk, moved).await;
        // Said after the swing: a line in the middle would tear the simulator's drawing.
        let (id, place) = (escape(&bonk.id), escape(&bonk.place()));
        let comm = escape(&bonk.comm);
        if fine {
            let swings = self.handle.swings();
            info!(swings, id, place, comm, "bonked");
        } else {
            let failed = shared.failed.fetch_add(1, Ordering::Relaxed) + 1;
            error!(failed, id, place, comm, "the swing failed");
        }
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

// === impl ArmHandle ===

impl ArmHandle {
    /// Queues `bonk`, or says why not; never waits.
    pub(crate) fn queue(&self, bonk: Bonk) -> Result<(), NotQueued> {
        self.queue.try_send(bonk).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => NotQueued::Full,
            mpsc::error::TrySendError::Closed(_) => NotQueued::Stopped,
        })
    }

    /// The swings from now on.
    pub fn watch(&self) -> broadcast::Receiver<Swung> {
        self.swung.subscribe()
    }

    /// Bonks that wait, the one being swung for not included.
    pub fn queue_length(&self) -> usize {
        QUEUE_CAPACITY.saturating_sub(self.queue.capacity())
    }

    /// Swings whose first pulse the backend took.
    pub fn swings(&self) -> u64 {
        self.shared.swings.load(Ordering::Relaxed)
    }

    /// Swings of which the backend failed a step.
    pub fn failed_swings(&self) -> u64 {
        self.shared.failed.load(Ordering::Relaxed)
    }

    /// Name of the backend.
    pub fn backend(&self) -> &str {
        self.shared.backend
    }

    /// Why that backend was picked.
    pub fn backend_reason(&self) -> &str {
        &self.shared.reason
    }
}

#[cfg(test)]
mod tests;
