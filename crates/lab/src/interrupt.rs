//! Ctrl-C ends waits instead of the process, so that guards clean up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::Event;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static WAITING: Mutex<BTreeMap<u64, SyncSender<Event>>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A channel that is told of a signal until this is dropped.
#[derive(Debug)]
pub struct Notified(u64);

/// From here on SIGINT, SIGTERM and SIGHUP end what waits for a child's output,
/// and [`check`].
pub fn catch() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("catch signals")?;
    thread::spawn(move || {
        for _ in signals.forever() {
            INTERRUPTED.store(true, Ordering::SeqCst);
            for waiting in WAITING
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .values()
            {
                let _ = waiting.try_send(Event::Interrupted);
            }
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

/// Has this channel told of the first signal to come, or of one that came.
pub fn notify(waiting: SyncSender<Event>) -> Notified {
    let mut all = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    if INTERRUPTED.load(Ordering::SeqCst) {
        let _ = waiting.try_send(Event::Interrupted);
    }
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    all.insert(id, waiting);
    Notified(id)
}

impl Drop for Notified {
    fn drop(&mut self) {
        let mut all = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&self.0);
    }
}
