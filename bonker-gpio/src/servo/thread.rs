//! The servo's own thread: it carries out one order at a time, and stops forgotten pulses.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

use service::error_chain::chain;
use tokio::sync::oneshot;
use tracing::{error, warn};

use super::{Servo, ServoError};
use crate::motion::{MAX_HOLD, Step};

/// Pulses end this long after the last order to send some. The second on top of a hold is for a
/// busy machine: a servo that holds its place takes no harm from it.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(1).saturating_add(MAX_HOLD);

/// The first and the longest wait after pulses could not be stopped.
const RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_mins(1);

/// For the end of the thread; a backend that hangs ends with the process.
const GOODBYE: Duration = Duration::from_millis(200);

/// Sends its orders to the thread of one servo. The thread detaches by itself when its limit has
/// passed since the last [`ServoThread::drive`]: pulses end even if the task that gives the
/// orders hangs, or the whole async runtime. It sleeps while there are none.
///
/// Dropping it detaches and drops the servo.
pub(crate) struct ServoThread {
    orders: Option<Sender<Order>>,
    end: Receiver<()>,
    /// A call is under way, or the task that waited for it was aborted.
    is_busy: bool,
}

struct Order {
    action: Action,
    answer: oneshot::Sender<Result<(), ServoError>>,
}

#[derive(Clone, Copy)]
enum Action {
    Drive(Step),
    Detach,
}

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

// === impl ServoThread ===

impl ServoThread {
    /// Fails if the system gives no thread.
    pub(crate) fn start(servo: Box<dyn Servo>, limit: Duration) -> std::io::Result<Self> {
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
        let orders = Some(orders);
        Ok(Self {
            orders,
            end,
            is_busy: false,
        })
    }

    pub(crate) async fn drive(&mut self, step: Step) -> Result<(), ServoError> {
        self.order(Action::Drive(step)).await
    }

    pub(crate) async fn detach(&mut self) -> Result<(), ServoError> {
        self.order(Action::Detach).await
    }

    async fn order(&mut self, action: Action) -> Result<(), ServoError> {
        let (answer, answered) = oneshot::channel();
        let gone = || ServoError::Gone {
            attempt: action.attempt(),
        };
        let orders = self.orders.as_ref().ok_or_else(gone)?;
        let order = Order { action, answer };
        orders.send(order).map_err(|_| gone())?;
        self.is_busy = true;
        let answer = answered.await;
        self.is_busy = false;
        answer.map_err(|_| gone())?
    }
}

impl Drop for ServoThread {
    fn drop(&mut self) {
        self.orders = None;
        // A call that did not come back in time will not now: nothing else is kept waiting for it.
        if self.is_busy || self.end.recv_timeout(GOODBYE) == Err(RecvTimeoutError::Timeout) {
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
                    let done = self.carry_out(order.action);
                    // The task that gave the order may have been aborted.
                    let _ = order.answer.send(done);
                }
                Err(RecvTimeoutError::Timeout) => self.stop_overdue(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if self.due.is_some()
            && let Err(why) = self.carry_out(Action::Detach)
        {
            error!(error = %chain(&why), "the pulses may still be on");
        }
        let servo = self.servo;
        if catch_unwind(AssertUnwindSafe(|| drop(servo))).is_err() {
            error!("the servo's backend panicked when let go");
        }
    }

    /// A panic of the backend costs this order, not the thread.
    fn carry_out(&mut self, action: Action) -> Result<(), ServoError> {
        let servo = self.servo.as_mut();
        let called = catch_unwind(AssertUnwindSafe(|| match action {
            Action::Drive(step) => servo.drive(&step),
            Action::Detach => servo.detach(),
        }));
        let attempt = action.attempt();
        let done = match called {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(ServoError::Backend { attempt, source }),
            Err(_panic) => Err(ServoError::Panicked { attempt }),
        };
        // A failed order to drive may have started pulses all the same.
        self.due = match (action, &done) {
            (Action::Drive(_), _) => Some(Due::after(self.limit)),
            (Action::Detach, Ok(())) => None,
            (Action::Detach, Err(_)) => self.due.map(Due::failed),
        };
        done
    }

    fn stop_overdue(&mut self) {
        let after = self.limit;
        match self.carry_out(Action::Detach) {
            Ok(()) => warn!(?after, "nobody stopped the pulses: the watchdog did"),
            Err(why) => error!(
                error = %chain(&why),
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

impl Action {
    fn attempt(self) -> String {
        match self {
            Self::Drive(step) => format!("start pulses of {} µs", step.pulse_us),
            Self::Detach => "stop its pulses".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
