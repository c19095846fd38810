//! A servo behind a thread of its own, which stops the pulses when nobody does.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

use tracing::{error, warn};

use super::{Servo, ServoError};
use crate::motion::{MAX_HOLD, Step};
use crate::report::chain;

/// Pulses end by themselves this long after the last order to send some. The second on top
/// of a hold is for a machine that is busy: a servo at its place takes no harm from it.
pub const WATCHDOG: Duration = Duration::from_secs(1).saturating_add(MAX_HOLD);

/// The first and the longest wait after pulses could not be stopped.
const RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_mins(1);

/// How long the end of the thread is waited for; a backend that hangs ends with the process.
const GOODBYE: Duration = Duration::from_millis(200);

/// Gives `servo` to a thread that carries out one order at a time and detaches by itself
/// once `limit` has passed since the last [`Servo::drive`]: the pulses end even if the one who
/// gives the orders hangs, or the whole async runtime. The thread sleeps while they are off.
///
/// Dropping it detaches and drops `servo` there. Fails if the system gives no thread.
pub fn watched(servo: Box<dyn Servo>, limit: Duration) -> std::io::Result<Box<dyn Servo>> {
    let (orders, inbox) = channel();
    let (ended, end) = channel();
    Builder::new().name("servo".to_owned()).spawn(move || {
        // Dropped at the end of the thread, also by a panic.
        let _ended: Sender<()> = ended;
        Keeper {
            servo,
            limit,
            due: None,
        }
        .run(&inbox);
    })?;
    Ok(Box::new(Watched {
        orders: Some(orders),
        end,
    }))
}

struct Watched {
    orders: Option<Sender<Order>>,
    end: Receiver<()>,
}

struct Order {
    what: What,
    answer: Sender<Result<(), ServoError>>,
}

#[derive(Clone, Copy)]
enum What {
    Drive(Step),
    Detach,
}

/// What the thread holds.
struct Keeper {
    servo: Box<dyn Servo>,
    limit: Duration,
    /// When to stop the pulses; `None` while there are none.
    due: Option<Due>,
}

#[derive(Clone, Copy)]
struct Due {
    at: Instant,
    /// How long to wait after the next failure.
    retry: Duration,
}

// === impl Watched ===

impl Watched {
    fn order(&self, what: What) -> Result<(), ServoError> {
        let (answer, answered) = channel();
        let gone = || ServoError::Gone {
            attempt: what.attempt(),
        };
        let orders = self.orders.as_ref().ok_or_else(gone)?;
        orders.send(Order { what, answer }).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }
}

impl Servo for Watched {
    fn drive(&mut self, step: &Step) -> Result<(), ServoError> {
        self.order(What::Drive(*step))
    }

    fn detach(&mut self) -> Result<(), ServoError> {
        self.order(What::Detach)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.orders = None;
        if self.end.recv_timeout(GOODBYE) == Err(RecvTimeoutError::Timeout) {
            warn!("the servo's backend does not end; it ends with the process");
        }
    }
}

// === impl Keeper ===

impl Keeper {
    fn run(mut self, inbox: &Receiver<Order>) {
        loop {
            let order = match self.due {
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => inbox.recv_timeout(due.at.saturating_duration_since(Instant::now())),
            };
            match order {
                Ok(order) => {
                    let done = self.carry_out(order.what);
                    // Whoever gave the order may be gone by now.
                    let _ = order.answer.send(done);
                }
                Err(RecvTimeoutError::Timeout) => self.overdue(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if self.due.is_some()
            && let Err(why) = self.carry_out(What::Detach)
        {
            error!(error = chain(&why), "the pulses may still be on");
        }
        let servo = self.servo;
        if catch_unwind(AssertUnwindSafe(|| drop(servo))).is_err() {
            error!("the servo's backend panicked when let go");
        }
    }

    /// A panic of the backend costs this order, not the thread.
    fn carry_out(&mut self, what: What) -> Result<(), ServoError> {
        let servo = self.servo.as_mut();
        let called = catch_unwind(AssertUnwindSafe(|| match what {
            What::Drive(step) => servo.drive(&step),
            What::Detach => servo.detach(),
        }));
        let done = called.unwrap_or_else(|_: Box<dyn Any + Send>| {
            Err(ServoError::Panicked {
                attempt: what.attempt(),
            })
        });
        // An order to drive that failed may have started pulses all the same.
        self.due = match (what, &done) {
            (What::Drive(_), _) => Some(Due::after(self.limit)),
            (What::Detach, Ok(())) => None,
            (What::Detach, Err(_)) => self.due.map(Due::failed),
        };
        done
    }

    fn overdue(&mut self) {
        let after = self.limit;
        match self.carry_out(What::Detach) {
            Ok(()) => warn!(?after, "nobody stopped the pulses: the watchdog did"),
            Err(why) => error!(
                error = chain(&why),
                "the watchdog cannot stop the pulses: cut the servo's supply"
            ),
        }
    }
}

impl Due {
    fn after(limit: Duration) -> Self {
        Self {
            at: Instant::now() + limit,
            retry: RETRY,
        }
    }

    fn failed(self) -> Self {
        Self {
            at: Instant::now() + self.retry,
            retry: MAX_RETRY.min(self.retry * 2),
        }
    }
}

impl What {
    fn attempt(self) -> String {
        match self {
            Self::Drive(step) => format!("move to {} µs", step.pulse_us),
            Self::Detach => "stop its pulses".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
