//! `calibrate`: walks the servo to its limits by keyboard, and writes them down.

mod dial;
mod save;
mod screen;

use std::io;
use std::time::Duration;

use anyhow::{Context as _, bail};
use crossterm::event::EventStream;
use futures::StreamExt as _;
use tokio::time::{Instant, sleep_until};
use tracing::info;

use crate::args::CalibrateArgs;
use crate::motion::{Calibration, Limits, MAX_HOLD, Step};
use crate::servo::{self, ServoThread, WATCHDOG};
use dial::{Action, Dial};
use save::{check_writable, save};
use screen::Screen;

/// Pulses end this long after the last key: a servo against its stop heats up.
const IDLE: Duration = Duration::from_secs(1);

const TERMINAL: &str = "the terminal cannot be used";

/// Until the user saves or leaves, or `stop`, which leaves. The servo gets no pulse before
/// the first key, and none after the last.
pub(crate) async fn calibrate(
    args: CalibrateArgs,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    if !screen::is_there() {
        bail!(
            "calibrate needs a terminal for its keys and its picture: run it in one, on the \
             machine that has the servo (ssh -t)"
        );
    }
    check_writable(&args.config)?;
    let mut dial = Dial::new(args.servo.calibration);
    let limits = Limits::try_from(dial.calibration()).context("the calibration does not hold")?;
    // The simulator would draw over the dial, which shows the same.
    let nowhere: servo::Screen = Some(Box::new(io::sink()));
    let picked = servo::pick(args.servo.backend, &args.servo.hardware, limits, nowhere)?;
    let (backend, reason) = (picked.backend.name, picked.backend.reason.as_str());
    info!(backend, reason, "picked the backend");
    let servo =
        ServoThread::start(picked.servo, WATCHDOG).context("cannot start the servo's thread")?;
    let saved = walk(&mut dial, servo, stop).await?;
    let config = args.config.display();
    // Without standard output, the file has the result.
    if let Some(calibration) = saved {
        save(&args.config, calibration)?;
        let _ = screen::print(&format!("saved in {config}"));
    } else {
        let _ = screen::print(&format!("left; {config} is as it was"));
    }
    Ok(())
}

/// Returns what to save, if anything.
async fn walk(
    dial: &mut Dial,
    mut servo: ServoThread,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<Option<Calibration>> {
    let mut screen = Screen::open().context(TERMINAL)?;
    let mut keys = EventStream::new();
    let mut stop = std::pin::pin!(stop);
    let mut off_at: Option<Instant> = None;
    let saved = loop {
        let lines = dial.lines(off_at.is_some());
        screen.draw(&lines).context(TERMINAL)?;
        let event = tokio::select! {
            biased;
            () = &mut stop => break None,
            () = sleep_until(off_at.unwrap_or_else(Instant::now)), if off_at.is_some() => {
                servo.detach().await?;
                off_at = None;
                continue;
            }
            event = keys.next() => event,
        };
        // The terminal is gone: nothing was confirmed.
        let Some(event) = event else { break None };
        let event = event.context(TERMINAL)?;
        match screen::key(&event).map(|key| dial.press(key)) {
            None => (),
            Some(Action::Leave) => break None,
            Some(Action::Save(calibration)) => break Some(calibration),
            Some(Action::Move(pulse_us)) => {
                let step = Step {
                    pulse_us,
                    hold: MAX_HOLD,
                };
                servo.drive(step).await?;
                off_at = Some(Instant::now() + IDLE);
            }
        }
    };
    servo.detach().await?;
    Ok(saved)
}
