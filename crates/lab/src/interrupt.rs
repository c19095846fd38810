//! Ctrl-C ends waits instead of the process, so that guards clean up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static WAITING: Mutex<BTreeMap<u64, Callback>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(0);

type Callback = Box<dyn Fn() + Send>;

/// A callback that a signal runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Notified(u64);

/// From here on SIGINT, SIGTERM and SIGHUP end what waits for a child's output,
/// and [`check`].
pub fn catch() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("catch signals")?;
    thread::spawn(move || {
        for _ in signals.forever() {
            INTERRUPTED.store(true, Ordering::SeqCst);
            waiting().values().for_each(|callback| callback());
        }
    });
    Ok(())
}

/// Fails once a signal has come.
pub fn check() -> Result<()> {
    if INTERRUPTED.load(Ordering::SeqCst) {
        bail!("interrupted");
    }
    Ok(())
}

/// Sleeps; a signal ends it.
pub fn pause(length: Duration) -> Result<()> {
    let (sender, interruption) = sync_channel(1);
    let _notified = notify(move || {
        let _ = sender.try_send(());
    });
    let _ = interruption.recv_timeout(length);
    check()
}

/// Has every signal run `callback`; at once if one has come.
pub(crate) fn notify(callback: impl Fn() + Send + 'static) -> Notified {
    let mut waiting = waiting();
    if INTERRUPTED.load(Ordering::SeqCst) {
        callback();
    }
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    waiting.insert(id, Box::new(callback));
    Notified(id)
}

fn waiting() -> MutexGuard<'static, BTreeMap<u64, Callback>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Notified {
    fn drop(&mut self) {
        waiting().remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_pause_lasts() {
        let (start, length) = (Instant::now(), Duration::from_millis(50));
        pause(length).unwrap();
        assert!(start.elapsed() >= length);
    }
}
