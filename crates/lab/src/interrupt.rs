//! Ctrl-C ends waits instead of the process, so that guards clean up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static WAITING: Mutex<BTreeMap<u64, Callback>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(0);

type Callback = Box<dyn Fn() + Send>;

/// A callback that a signal runs until this is dropped.
#[derive(Debug)]
pub struct Notified(u64);

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

/// Has every signal run `callback`; at once if one has come.
pub fn notify(callback: impl Fn() + Send + 'static) -> Notified {
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
