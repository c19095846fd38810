//! A machine that is busy: threads that never sleep.

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result};

/// Spins until it is dropped.
#[derive(Debug, Default)]
pub struct Spinners(Arc<AtomicBool>);

impl Spinners {
    /// That many threads of ordinary priority.
    pub fn start(count: usize) -> Result<Self> {
        let spinners = Self::default();
        for _ in 0..count {
            let over = Arc::clone(&spinners.0);
            let thread = thread::Builder::new().name("spinner".to_owned());
            let spin = move || {
                while !over.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            };
            thread.spawn(spin).context("start a spinning thread")?;
        }
        Ok(spinners)
    }
}

impl Drop for Spinners {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
