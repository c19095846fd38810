//! Notifies systemd by the protocol of `sd_notify(3)`, if it started this process with
//! `Type=notify`.

use std::convert::Infallible;
use std::time::Duration;

use sd_notify::NotifyState;
use service::error_chain::chain;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::warn;

use crate::arm::Heartbeat;

/// The boot motion is over, and health is SERVING.
pub(crate) fn ready() {
    notify("ready", &NotifyState::Ready);
}

/// The last swing and the way to rest are under way.
pub(crate) fn stopping() {
    notify("stopping", &NotifyState::Stopping);
}

/// If `WATCHDOG_USEC` is set (`sd_watchdog_enabled(3)`), notifies systemd twice in that time while
/// the arm answers.
pub(crate) async fn watchdog(arm: Heartbeat) -> Infallible {
    match sd_notify::watchdog_enabled() {
        Some(within) => {
            let alive = || notify("alive", &NotifyState::Watchdog);
            watch(within / 2, arm, alive).await
        }
        None => std::future::pending().await,
    }
}

async fn watch(every: Duration, arm: Heartbeat, mut alive: impl FnMut()) -> Infallible {
    // An interval of nothing is none: one that is shorter than a swing would end the process anyway.
    let mut ticks = interval(every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match timeout(every, arm.beat()).await {
            Ok(true) => alive(),
            // It has stopped; the process is about to.
            Ok(false) => std::future::pending().await,
            Err(_) => warn!(
                waited = ?every,
                "the arm does not answer; systemd restarts this service unless it does soon"
            ),
        }
    }
}

fn notify(what: &'static str, state: &NotifyState<'_>) {
    // Without NOTIFY_SOCKET this does nothing.
    if let Err(why) = sd_notify::notify(std::slice::from_ref(state)) {
        warn!(error = %chain(&why), what, "cannot notify systemd");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::watch;
    use crate::arm::Heartbeat;

    /// The clock is paused: it advances when all tasks wait.
    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_notified_while_the_arm_answers() {
        let (heartbeat, mut requests) = Heartbeat::new();
        let notified = AtomicU32::new(0);
        let watch = async |seconds| {
            let every = Duration::from_secs(10);
            let alive = || {
                notified.fetch_add(1, Ordering::Relaxed);
            };
            let watch = watch(every, heartbeat.clone(), alive);
            let _ = timeout(Duration::from_secs(seconds), watch).await;
            notified.swap(0, Ordering::Relaxed)
        };
        assert_eq!(watch(100).await, 0, "its task does not run");
        let arm = tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                let _ = request.send(());
            }
        });
        assert_eq!(watch(95).await, 10);
        arm.abort();
        let _cancelled = arm.await;
        assert_eq!(watch(100).await, 0, "it has stopped");
    }
}
