use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Arm, ArmHandle, NotQueued, QUEUE_CAPACITY};
use crate::bonk::Bonk;
use crate::servo::{Picked, Servo, ServoError};
use crate::swing::{Calibration, Limits, Step, Tempo};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    Drive(u16),
    Detach,
}

const REST: [Move; 2] = [Move::Drive(1000), Move::Detach];
const BONK: [Move; 3] = [Move::Drive(2000), Move::Drive(1000), Move::Detach];

/// Records what it is told, and then does `trouble`.
struct Recorder {
    moves: Arc<Mutex<Vec<Move>>>,
    trouble: fn(Move, usize) -> Result<(), ServoError>,
}

impl Recorder {
    fn record(&mut self, made: Move) -> Result<(), ServoError> {
        let count = {
            let mut moves = self.moves.lock().unwrap();
            moves.push(made);
            moves.len()
        };
        (self.trouble)(made, count)
    }
}

impl Servo for Recorder {
    fn drive(&mut self, step: &Step) -> Result<(), ServoError> {
        self.record(Move::Drive(step.pulse_us))
    }

    fn detach(&mut self) -> Result<(), ServoError> {
        self.record(Move::Detach)
    }
}

struct Running {
    moves: Arc<Mutex<Vec<Move>>>,
    arm: ArmHandle,
    booted: oneshot::Receiver<()>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn start(trouble: fn(Move, usize) -> Result<(), ServoError>) -> Running {
    let moves = Arc::default();
    let picked = Picked {
        servo: Box::new(Recorder {
            moves: Arc::clone(&moves),
            trouble,
        }),
        name: "recorder",
        reason: "a test".to_owned(),
    };
    let limits = Limits::try_from(Calibration::default()).unwrap();
    let arm = Arm::new(picked, limits, Tempo::default());
    let handle = arm.handle();
    let (booted_tx, booted) = oneshot::channel();
    let stop = CancellationToken::new();
    let task = tokio::spawn(arm.run(booted_tx, stop.clone()));
    Running {
        moves,
        arm: handle,
        booted,
        stop,
        task,
    }
}

impl Running {
    fn bonk(&self) -> Result<(), NotQueued> {
        self.arm.queue(Bonk::default())
    }

    async fn booted(&mut self) {
        within(&mut self.booted).await.unwrap();
    }

    async fn stopped(self) -> Vec<Move> {
        self.stop.cancel();
        within(self.task).await.unwrap();
        self.moves.lock().unwrap().clone()
    }
}

async fn within<T>(wait: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), wait).await.unwrap()
}

fn broken(attempt: &str) -> Result<(), ServoError> {
    Err(ServoError::Backend {
        attempt: attempt.to_owned(),
        source: "the wire came off".into(),
    })
}

#[tokio::test(start_paused = true)]
async fn boots_to_rest_swings_and_ends_at_rest_detached() {
    let mut running = start(|_, _| Ok(()));
    running.booted().await;
    assert_eq!(*running.moves.lock().unwrap(), REST);
    let mut swings = running.arm.watch();
    running.bonk().unwrap();
    assert_eq!(within(swings.recv()).await.unwrap().swings, 1);
    assert_eq!(running.arm.swings(), 1);
    assert_eq!(running.arm.failed_swings(), 0);
    // Stopped in mid-swing: the swing is finished all the same.
    let moves = running.stopped().await;
    assert_eq!(moves, [&REST[..], &BONK, &REST].concat());
}

#[tokio::test(start_paused = true)]
async fn each_step_is_held() {
    let mut running = start(|_, _| Ok(()));
    running.booted().await;
    let begun = tokio::time::Instant::now();
    running.bonk().unwrap();
    within(running.arm.watch().recv()).await.unwrap();
    running.stopped().await;
    let tempo = Tempo::default();
    let held = tempo.strike + tempo.rest + tempo.rest;
    let took = begun.elapsed();
    assert!(took >= held, "{took:?} for {held:?}");
    assert!(
        took < held + Duration::from_millis(50),
        "{took:?} for {held:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_strike_is_counted_and_the_arm_goes_on() {
    let mut running = start(|made, count| match (made, count) {
        (Move::Drive(2000), 3) => broken("move"),
        _ => Ok(()),
    });
    running.booted().await;
    let mut swings = running.arm.watch();
    running.bonk().unwrap();
    running.bonk().unwrap();
    // The first one never moved: watchers are told of the second alone.
    assert_eq!(within(swings.recv()).await.unwrap().swings, 1);
    assert_eq!(running.arm.failed_swings(), 1);
    let moves = running.stopped().await;
    assert_eq!(moves, [&REST[..], &BONK, &BONK, &REST].concat());
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_backend_costs_one_swing() {
    let mut running = start(|_, count| {
        assert_ne!(count, 3, "the strike of the first bonk");
        Ok(())
    });
    running.booted().await;
    let mut swings = running.arm.watch();
    running.bonk().unwrap();
    running.bonk().unwrap();
    assert_eq!(within(swings.recv()).await.unwrap().swings, 1);
    assert_eq!(running.arm.failed_swings(), 1);
    let moves = running.stopped().await;
    assert_eq!(moves, [&REST[..], &BONK, &BONK, &REST].concat());
}

#[tokio::test(start_paused = true)]
async fn a_swing_that_cannot_detach_counts_as_both_swung_and_failed() {
    let mut running = start(|made, count| match (made, count) {
        (Move::Detach, 5) => broken("detach"),
        _ => Ok(()),
    });
    running.booted().await;
    let mut swings = running.arm.watch();
    running.bonk().unwrap();
    running.bonk().unwrap();
    within(swings.recv()).await.unwrap();
    within(swings.recv()).await.unwrap();
    assert_eq!((running.arm.swings(), running.arm.failed_swings()), (2, 1));
    running.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_and_closed_at_the_end() {
    // The arm has not run yet, so that nothing leaves the queue.
    let running = start(|_, _| Ok(()));
    for _ in 0..QUEUE_CAPACITY {
        running.bonk().unwrap();
    }
    assert_eq!(running.bonk(), Err(NotQueued::Full));
    assert_eq!(running.arm.queue_length(), QUEUE_CAPACITY);
    let arm = running.arm.clone();
    // What waits when it is stopped is not swung for.
    assert_eq!(running.stopped().await, [REST, REST].concat());
    assert_eq!(arm.queue(Bonk::default()), Err(NotQueued::Stopped));
    assert_eq!(arm.swings(), 0);
}
