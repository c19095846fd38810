use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::{ServoThread, WATCHDOG};
use crate::motion::Step;
use crate::servo::{Failure, Servo, ServoError};

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_mins(1);
/// How long a test waits for what has to happen.
const PATIENCE: Duration = Duration::from_mins(3);

/// A pulse, and when; `None` is detached.
type Moved = (Option<u16>, Instant);

/// Sends its orders on.
struct Recorder {
    moves: Sender<Moved>,
    /// How many more times it fails to detach.
    stuck: usize,
}

impl Servo for Recorder {
    fn drive(&mut self, step: &Step) -> Result<(), Failure> {
        assert_ne!(step.pulse_us, 13, "a backend that panics");
        let _ = self.moves.send((Some(step.pulse_us), Instant::now()));
        Ok(())
    }

    fn detach(&mut self) -> Result<(), Failure> {
        let _ = self.moves.send((None, Instant::now()));
        if self.stuck == 0 {
            return Ok(());
        }
        self.stuck -= 1;
        Err("it is stuck".into())
    }
}

fn start(limit: Duration, stuck: usize) -> (ServoThread, Receiver<Moved>) {
    let (moves, moved) = channel();
    let servo = ServoThread::start(Box::new(Recorder { moves, stuck }), limit).unwrap();
    (servo, moved)
}

fn step(pulse_us: u16) -> Step {
    Step {
        pulse_us,
        hold: Duration::ZERO,
    }
}

#[tokio::test]
async fn forgotten_pulses_end_by_themselves_once() {
    let (mut servo, moved) = start(SHORT, 0);
    servo.drive(step(1500)).await.unwrap();
    let (pulse, began) = moved.recv_timeout(PATIENCE).unwrap();
    assert_eq!(pulse, Some(1500));
    let (pulse, ended) = moved.recv_timeout(PATIENCE).unwrap();
    assert_eq!(pulse, None);
    assert!(ended - began >= SHORT);
    // Off is off: the thread sleeps.
    assert_eq!(
        moved.recv_timeout(4 * SHORT),
        Err(RecvTimeoutError::Timeout)
    );
}

#[test]
fn pulses_end_though_the_runtime_hangs() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let (mut servo, moved) = start(SHORT, 0);
    runtime.block_on(async {
        servo.drive(step(1500)).await.unwrap();
        // Nothing of this runtime runs until the pulses are off.
        let pulses: Vec<_> = (0..2)
            .map(|_| moved.recv_timeout(PATIENCE).unwrap().0)
            .collect();
        assert_eq!(pulses, [Some(1500), None]);
    });
}

#[tokio::test]
async fn orders_in_time_are_left_alone() {
    let (mut servo, moved) = start(LONG, 0);
    servo.drive(step(1500)).await.unwrap();
    servo.drive(step(1000)).await.unwrap();
    servo.detach().await.unwrap();
    drop(servo);
    let pulses: Vec<_> = moved.iter().map(|(pulse, _)| pulse).collect();
    assert_eq!(pulses, [Some(1500), Some(1000), None]);
}

#[tokio::test]
async fn a_drop_leaves_no_pulses() {
    let (mut servo, moved) = start(LONG, 0);
    servo.drive(step(1500)).await.unwrap();
    drop(servo);
    let pulses: Vec<_> = moved.iter().map(|(pulse, _)| pulse).collect();
    assert_eq!(pulses, [Some(1500), None]);
}

#[tokio::test]
async fn a_failed_detach_is_retried() {
    let (mut servo, moved) = start(SHORT, 2);
    servo.drive(step(1500)).await.unwrap();
    let next = || moved.recv_timeout(PATIENCE).unwrap().0;
    let pulses: Vec<_> = (0..4).map(|_| next()).collect();
    assert_eq!(pulses, [Some(1500), None, None, None]);
    assert_eq!(
        moved.recv_timeout(4 * SHORT),
        Err(RecvTimeoutError::Timeout)
    );
}

#[tokio::test]
async fn a_panic_costs_one_order_and_is_watched_like_pulses() {
    let (mut servo, moved) = start(SHORT, 0);
    let why = servo.drive(step(13)).await.unwrap_err();
    assert!(matches!(why, ServoError::Panicked { .. }), "{why}");
    assert_eq!(moved.recv_timeout(PATIENCE).unwrap().0, None);
    servo.drive(step(1500)).await.unwrap();
    assert_eq!(moved.recv_timeout(PATIENCE).unwrap().0, Some(1500));
}

#[test]
fn the_limit_leaves_every_hold_alone() {
    assert!(WATCHDOG > 2 * crate::motion::MAX_HOLD);
}
