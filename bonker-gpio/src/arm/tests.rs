use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Arm, next_job};
use crate::admission::{Outcome, Settings};
use crate::app::App;
use crate::bonk::{Bonk, Severity};
use crate::history::History;
use crate::motion::{Calibration, Choreography, End, Limits, MAX_HOLD, Motion, Step, Style, Tempo};
use crate::servo::{Backend, Failure, Servo};

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

/// Records its orders, and then does `trouble`.
struct Recorder {
    moves: Arc<Mutex<Vec<Move>>>,
    trouble: fn(Move, usize) -> Result<(), Failure>,
}

impl Recorder {
    fn record(&mut self, made: Move) -> Result<(), Failure> {
        let count = {
            let mut moves = self.moves.lock().unwrap();
            moves.push(made);
            moves.len()
        };
        (self.trouble)(made, count)
    }
}

impl Servo for Recorder {
    fn drive(&mut self, step: &Step) -> Result<(), Failure> {
        self.record(Move::Drive(step.pulse_us))
    }

    fn detach(&mut self) -> Result<(), Failure> {
        self.record(Move::Detach)
    }
}

struct Running {
    moves: Arc<Mutex<Vec<Move>>>,
    app: App,
    task: JoinHandle<()>,
}

/// As fast as the tests, which cannot pause the clock: the servo's thread takes its time.
const QUICK: Tempo = Tempo {
    strike: Duration::from_millis(20),
    rest: Duration::from_millis(20),
};

fn plan() -> Choreography {
    Choreography {
        tempo: QUICK,
        ..Choreography::within(Limits::try_from(Calibration::default()).unwrap())
    }
}

fn app(motion: &Motion) -> App {
    let backend = Backend {
        name: "recorder",
        reason: "a test".to_owned(),
    };
    App::new(Settings::default(), History::in_memory(), backend, motion)
}

fn start(trouble: fn(Move, usize) -> Result<(), Failure>) -> Running {
    start_with(plan(), trouble)
}

fn start_with(plan: Choreography, trouble: fn(Move, usize) -> Result<(), Failure>) -> Running {
    let moves = Arc::default();
    let servo = Recorder {
        moves: Arc::clone(&moves),
        trouble,
    };
    let motion = Motion::new(plan, End::Rest).unwrap();
    let app = app(&motion);
    let arm = Arm::new(Box::new(servo), motion, app.clone()).unwrap();
    let task = tokio::spawn(arm.run());
    Running { moves, app, task }
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
        self.app.submit(Ok(bonk), None).outcome
    }

    /// Swings, and failed ones.
    fn swings(&self) -> (u64, u64) {
        let status = self.app.status();
        (status.swings, status.failed_swings)
    }

    async fn booted(&self) {
        within(self.app.booted()).await;
    }

    async fn stopped(self) -> Vec<Move> {
        self.app.stop();
        within(self.task).await.unwrap();
        self.moves.lock().unwrap().clone()
    }
}

async fn within<T>(wait: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), wait).await.unwrap()
}

fn broken() -> Result<(), Failure> {
    Err("the wire came off".into())
}

#[tokio::test]
async fn boots_to_rest_swings_and_ends_at_rest_detached() {
    let running = start(|_, _| Ok(()));
    running.booted().await;
    assert_eq!(*running.moves.lock().unwrap(), BOOT);
    let mut swings = running.app.watch();
    running.bonk("a");
    assert_eq!(within(swings.recv()).await.unwrap().swings, 1);
    assert_eq!(running.swings(), (1, 0));
    // Stopped in mid-swing: the swing is finished all the same.
    let moves = running.stopped().await;
    assert_eq!(moves, [&BOOT[..], &BONK, &REST].concat());
}

/// How long an arm of `plan` takes for a bonk of `severity` and its way to rest, if it is stopped
/// at the first pulse, and its moves after the boot. By the runtime's clock, which has to be
/// paused: it moves by what the arm holds, and stands still while the servo's thread works. A
/// timeout would be the next thing that it moves to.
async fn held(plan: Choreography, severity: Severity) -> (Duration, Vec<Move>) {
    let running = start_with(plan, |_, _| Ok(()));
    running.app.booted().await;
    let mut swings = running.app.watch();
    let begun = tokio::time::Instant::now();
    running.bonk_for("a", severity);
    swings.recv().await.unwrap();
    running.app.stop();
    running.task.await.unwrap();
    let moves = running.moves.lock().unwrap();
    let moves = moves.strip_prefix(&BOOT[..]).unwrap().to_vec();
    (begun.elapsed(), moves)
}

/// The runtime's timers are that fine.
const TICKS: Duration = Duration::from_millis(5);

#[tokio::test(start_paused = true)]
async fn each_step_is_held() {
    let (took, _) = held(plan(), Severity::Kill).await;
    let held = QUICK.strike + QUICK.rest + QUICK.rest;
    assert!(
        (held..=held + TICKS).contains(&took),
        "{took:?} for {held:?}"
    );
}

#[tokio::test]
async fn a_failed_strike_is_counted_and_the_arm_goes_on() {
    let running = start(|made, count| match (made, count) {
        (Move::Drive(2000), 9) => broken(),
        _ => Ok(()),
    });
    running.booted().await;
    let mut swings = running.app.watch();
    running.bonk("a");
    running.bonk("b");
    // The first one never moved: watchers get the second alone.
    assert_eq!(within(swings.recv()).await.unwrap().swings, 1);
    assert_eq!(running.swings().1, 1);
    let moves = running.stopped().await;
    assert_eq!(moves, [&BOOT[..], &BONK, &BONK, &REST].concat());
}

#[tokio::test]
async fn a_panic_in_the_backend_costs_one_swing() {
    let running = start(|_, count| {
        assert_ne!(count, 9, "the strike of the first bonk");
        Ok(())
    });
    running.booted().await;
    let mut swings = running.app.watch();
    running.bonk("a");
    running.bonk("b");
    assert_eq!(within(swings.recv()).await.unwrap().swings, 1);
    assert_eq!(running.swings().1, 1);
    let moves = running.stopped().await;
    assert_eq!(moves, [&BOOT[..], &BONK, &BONK, &REST].concat());
}

#[tokio::test]
async fn a_swing_that_cannot_detach_counts_as_both_swung_and_failed() {
    let running = start(|made, count| match (made, count) {
        (Move::Detach, 11) => broken(),
        _ => Ok(()),
    });
    running.booted().await;
    let mut swings = running.app.watch();
    running.bonk("a");
    running.bonk("b");
    within(swings.recv()).await.unwrap();
    within(swings.recv()).await.unwrap();
    assert_eq!(running.swings(), (2, 1));
    running.stopped().await;
}

#[tokio::test]
async fn a_stop_drops_waiting_bonks_and_rejects_further_ones() {
    // The arm has not run yet, so that nothing leaves the queue.
    let running = start(|_, _| Ok(()));
    assert_eq!(running.bonk("a"), Outcome::Accepted);
    let app = running.app.clone();
    let cut = [&[Move::Drive(1000)][..], &REST, &REST].concat();
    assert_eq!(running.stopped().await, cut, "the boot is cut short");
    let late = Bonk {
        id: "b".to_owned(),
        ..Bonk::default()
    };
    assert_eq!(app.submit(Ok(late), None).outcome, Outcome::Rejected);
    let status = app.status();
    assert_eq!((status.swings, status.queue_length), (0, 0));
}

/// What a bonk of `severity` does between boot and stop.
async fn moves_of(style: Style, severities: &[Severity]) -> Vec<Move> {
    let running = start_with(Choreography { style, ..plan() }, |_, _| Ok(()));
    running.booted().await;
    for (number, severity) in severities.iter().enumerate() {
        let mut swings = running.app.watch();
        let answer = running.bonk_for(&number.to_string(), *severity);
        assert_eq!(answer, Outcome::Accepted);
        within(swings.recv()).await.unwrap();
        // The end of the swing.
        within(running.app.progress()).await;
    }
    let moves = running.stopped().await;
    moves.strip_prefix(&BOOT[..]).unwrap().to_vec()
}

#[tokio::test]
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

#[tokio::test]
async fn a_toggle_stays_where_it_went() {
    let down = [Move::Drive(2000), Move::Detach];
    let kill = Severity::Kill;
    let made = moves_of(Style::Toggle, &[kill]).await;
    assert_eq!(made, [down, down].concat(), "stopped at its end");
    let made = moves_of(Style::Toggle, &[kill, Severity::Node, kill]).await;
    assert_eq!(made, [down, REST, down, down].concat());
}

#[tokio::test(start_paused = true)]
async fn a_frenzy_is_cut_short_at_the_end() {
    let tempo = Tempo {
        strike: MAX_HOLD,
        rest: MAX_HOLD,
    };
    let plan = Choreography { tempo, ..plan() };
    let (took, moves) = held(plan, Severity::Node).await;
    assert_eq!(moves, [&BONK[..], &REST].concat());
    // One beat of its eight, and twice the way to rest.
    let held = MAX_HOLD * 60 / 100 + 2 * MAX_HOLD;
    assert!(
        (held..=held + TICKS).contains(&took),
        "{took:?} for {held:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_bonk_waits_in_the_queue_until_the_duty_allows_it() {
    let motion = Motion::new(plan(), End::Rest).unwrap();
    let app = app(&motion);
    let bonk = Bonk {
        id: "a".to_owned(),
        ..Bonk::default()
    };
    assert_eq!(app.submit(Ok(bonk), None).outcome, Outcome::Accepted);
    let (begun, wait) = (tokio::time::Instant::now(), Duration::from_secs(20));
    let job = tokio::select! {
        job = next_job(&app, wait) => job,
        () = tokio::time::sleep(wait / 2) => {
            assert_eq!(app.status().queue_length, 1);
            next_job(&app, wait / 2).await
        }
    };
    assert_eq!(job.bonk.id, "a");
    assert_eq!(begun.elapsed(), wait);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_the_duty() {
    let duty = "1%".parse().unwrap();
    let tempo = Tempo {
        rest: Duration::from_millis(100),
        ..QUICK
    };
    let plan = Choreography {
        tempo,
        duty,
        ..plan()
    };
    let running = start_with(plan, |_, _| Ok(()));
    running.booted().await;
    running.bonk("late");
    let begun = tokio::time::Instant::now();
    let app = running.app.clone();
    tokio::task::yield_now().await;
    assert_eq!(running.stopped().await, [&BOOT[..], &REST].concat());
    assert!(begun.elapsed() < Duration::from_secs(30), "a minute");
    assert_eq!(app.status().swings, 0);
}
