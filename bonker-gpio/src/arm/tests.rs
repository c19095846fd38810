use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Arm;
use crate::bonk::Bonk;
use crate::desk::{DeskHandle, Outcome, Settings};
use crate::history::History;
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
    desk: DeskHandle,
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
    let desk = DeskHandle::new(Settings::default(), History::in_memory());
    let arm = Arm::new(picked, limits, Tempo::default(), desk.clone());
    let (booted_tx, booted) = oneshot::channel();
    let stop = CancellationToken::new();
    let task = tokio::spawn(arm.run(booted_tx, stop.clone()));
    Running {
        moves,
        desk,
        booted,
        stop,
        task,
    }
}

impl Running {
    fn bonk(&self, id: &str) -> Outcome {
        let id = id.to_owned();
        let bonk = Bonk {
            id,
            ..Bonk::default()
        };
        self.desk.submit(Ok(bonk), None).outcome
    }

    /// Swings, and failed ones.
    fn swings(&self) -> (u64, u64) {
        let status = self.desk.status();
        (status.swings, status.failed_swings)
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
    let mut swings = running.desk.watch();
    running.bonk("a");
    assert_eq!(within(swings.recv()).await.unwrap().swings, 1);
    assert_eq!(running.swings(), (1, 0));
    // Stopped in mid-swing: the swing is finished all the same.
    let moves = running.stopped().await;
    assert_eq!(moves, [&REST[..], &BONK, &REST].concat());
}

#[tokio::test(start_paused = true)]
async fn each_step_is_held() {
    let mut running = start(|_, _| Ok(()));
    running.booted().await;
    let begun = tokio::time::Instant::now();
    running.bonk("a");
    within(running.desk.watch().recv()).await.unwrap();
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
    let mut swings = running.desk.watch();
    running.bonk("a");
    running.bonk("b");
    // The first one never moved: watchers are told of the second alone.
    assert_eq!(within(swings.recv()).await.unwrap().swings, 1);
    assert_eq!(running.swings().1, 1);
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
    let mut swings = running.desk.watch();
    running.bonk("a");
    running.bonk("b");
    assert_eq!(within(swings.recv()).await.unwrap().swings, 1);
    assert_eq!(running.swings().1, 1);
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
    let mut swings = running.desk.watch();
    running.bonk("a");
    running.bonk("b");
    within(swings.recv()).await.unwrap();
    within(swings.recv()).await.unwrap();
    assert_eq!(running.swings(), (2, 1));
    running.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_at_the_end_is_dropped_and_nothing_follows() {
    // The arm has not run yet, so that nothing leaves the queue.
    let running = start(|_, _| Ok(()));
    assert_eq!(running.bonk("a"), Outcome::Accepted);
    let desk = running.desk.clone();
    assert_eq!(running.stopped().await, [REST, REST].concat());
    let late = Bonk {
        id: "b".to_owned(),
        ..Bonk::default()
    };
    assert_eq!(desk.submit(Ok(late), None).outcome, Outcome::Rejected);
    let status = desk.status();
    assert_eq!((status.swings, status.queue_length), (0, 0));
}
