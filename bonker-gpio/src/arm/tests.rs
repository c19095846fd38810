use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Arm;
use crate::bonk::{Bonk, Severity};
use crate::desk::{DeskHandle, Outcome, Settings};
use crate::history::History;
use crate::motion::{
    Calibration, Choreography, End, Gesture, Limits, MAX_HOLD, Motion, Step, Style, Tempo,
};
use crate::servo::{Picked, Servo, ServoError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    Drive(u16),
    Detach,
}

/// Three bursts, and the way to rest.
const BOOT: [Move; 8] = {
    let [drive, detach] = REST;
    [drive, detach, drive, detach, drive, detach, drive, detach]
};
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

fn plan() -> Choreography {
    Choreography::within(Limits::try_from(Calibration::default()).unwrap())
}

fn start(trouble: fn(Move, usize) -> Result<(), ServoError>) -> Running {
    start_with(plan(), trouble)
}

fn start_with(plan: Choreography, trouble: fn(Move, usize) -> Result<(), ServoError>) -> Running {
    let moves = Arc::default();
    let picked = Picked {
        servo: Box::new(Recorder {
            moves: Arc::clone(&moves),
            trouble,
        }),
        name: "recorder",
        reason: "a test".to_owned(),
    };
    let desk = DeskHandle::new(Settings::default(), History::in_memory());
    let motion = Motion::new(plan, End::Rest).unwrap();
    let arm = Arm::new(picked, motion, desk.clone()).unwrap();
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
        self.bonk_for(id, Severity::Kill)
    }

    fn bonk_for(&self, id: &str, severity: Severity) -> Outcome {
        let bonk = Bonk {
            id: id.to_owned(),
            severity,
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
    assert_eq!(*running.moves.lock().unwrap(), BOOT);
    let mut swings = running.desk.watch();
    running.bonk("a");
    assert_eq!(within(swings.recv()).await.unwrap().swings, 1);
    assert_eq!(running.swings(), (1, 0));
    // Stopped in mid-swing: the swing is finished all the same.
    let moves = running.stopped().await;
    assert_eq!(moves, [&BOOT[..], &BONK, &REST].concat());
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
        (Move::Drive(2000), 9) => broken("move"),
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
    assert_eq!(moves, [&BOOT[..], &BONK, &BONK, &REST].concat());
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_backend_costs_one_swing() {
    let mut running = start(|_, count| {
        assert_ne!(count, 9, "the strike of the first bonk");
        Ok(())
    });
    running.booted().await;
    let mut swings = running.desk.watch();
    running.bonk("a");
    running.bonk("b");
    assert_eq!(within(swings.recv()).await.unwrap().swings, 1);
    assert_eq!(running.swings().1, 1);
    let moves = running.stopped().await;
    assert_eq!(moves, [&BOOT[..], &BONK, &BONK, &REST].concat());
}

#[tokio::test(start_paused = true)]
async fn a_swing_that_cannot_detach_counts_as_both_swung_and_failed() {
    let mut running = start(|made, count| match (made, count) {
        (Move::Detach, 11) => broken("detach"),
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
    let cut = [&[Move::Drive(1000)][..], &REST, &REST].concat();
    assert_eq!(running.stopped().await, cut, "the boot is cut short");
    let late = Bonk {
        id: "b".to_owned(),
        ..Bonk::default()
    };
    assert_eq!(desk.submit(Ok(late), None).outcome, Outcome::Rejected);
    let status = desk.status();
    assert_eq!((status.swings, status.queue_length), (0, 0));
}

/// What a bonk of `severity` does between boot and stop.
async fn moves_of(style: Style, severities: &[Severity]) -> Vec<Move> {
    let mut running = start_with(Choreography { style, ..plan() }, |_, _| Ok(()));
    running.booted().await;
    for (number, severity) in severities.iter().enumerate() {
        let mut swings = running.desk.watch();
        let answer = running.bonk_for(&number.to_string(), *severity);
        assert_eq!(answer, Outcome::Accepted);
        within(swings.recv()).await.unwrap();
        // The one after it is only taken up when it is done.
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let moves = running.stopped().await;
    moves.strip_prefix(&BOOT[..]).unwrap().to_vec()
}

#[tokio::test(start_paused = true)]
async fn the_severity_picks_the_gesture() {
    let check = async |severity, pulses: &[u16]| {
        let mut expect: Vec<Move> = pulses.iter().copied().map(Move::Drive).collect();
        expect.push(Move::Detach);
        expect.extend(REST);
        let made = moves_of(Style::BySeverity, &[severity]).await;
        assert_eq!(made, expect, "{severity:?}");
    };
    check(Severity::Warning, &[1400, 1000]).await;
    check(Severity::Critical, &[1400, 1000, 1400, 1000]).await;
    check(Severity::Kill, &[2000, 1000]).await;
    let frenzy = [2000, 1400, 2000, 1400, 2000, 1400, 2000, 1400, 1000];
    check(Severity::Node, &frenzy).await;
    let made = moves_of(Style::Bonk, &[Severity::Warning]).await;
    assert_eq!(made, [&BONK[..], &REST].concat());
}

#[tokio::test(start_paused = true)]
async fn a_toggle_stays_where_it_went() {
    let down = [Move::Drive(2000), Move::Detach];
    let kill = Severity::Kill;
    let made = moves_of(Style::Toggle, &[kill]).await;
    assert_eq!(made, [down, down].concat(), "stopped at its end");
    let made = moves_of(Style::Toggle, &[kill, Severity::Node, kill]).await;
    assert_eq!(made, [down, REST, down, down].concat());
}

#[tokio::test(start_paused = true)]
async fn a_frenzy_is_cut_short_at_the_end_within_the_deadline() {
    let slow = Tempo {
        strike: MAX_HOLD,
        rest: MAX_HOLD,
    };
    let plan = Choreography {
        tempo: slow,
        ..plan()
    };
    let mut running = start_with(plan, |_, _| Ok(()));
    running.booted().await;
    let mut swings = running.desk.watch();
    running.bonk_for("a", Severity::Node);
    assert_eq!(
        within(swings.recv()).await.unwrap().gesture,
        Gesture::Frenzy
    );
    let begun = tokio::time::Instant::now();
    let moves = running.stopped().await;
    let took = begun.elapsed();
    assert!(took <= 3 * MAX_HOLD, "{took:?}");
    assert_eq!(moves, [&BOOT[..], &BONK, &REST].concat());
}

#[tokio::test(start_paused = true)]
async fn a_duty_that_is_used_up_makes_the_next_bonk_wait() {
    let plan = Choreography {
        duty: "5%".parse().unwrap(),
        style: Style::Bonk,
        ..plan()
    };
    let mut running = start_with(plan, |_, _| Ok(()));
    running.booted().await;
    let begun = tokio::time::Instant::now();
    let mut swings = running.desk.watch();
    for number in 0..10 {
        assert_eq!(running.bonk(&number.to_string()), Outcome::Accepted);
    }
    let mut swung = Vec::new();
    for _ in 0..10 {
        // Longer than a minute: tokio's clock jumps.
        let wait = timeout(Duration::from_mins(5), swings.recv());
        wait.await.unwrap().unwrap();
        swung.push(begun.elapsed());
    }
    // 3 s a minute, 0.35 s of them for the way to rest; 0.53 s went for the boot.
    let first_minute = swung.iter().filter(|at| at.as_secs() < 59).count();
    assert_eq!(first_minute, 3, "{swung:?}");
    running.bonk("late");
    let stopped = tokio::time::Instant::now();
    running.stopped().await;
    assert!(
        stopped.elapsed() < 3 * MAX_HOLD,
        "the wait is no reason to stay"
    );
}
