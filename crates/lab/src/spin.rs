//! A machine that is busy: threads that never sleep.

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};

/// Spins until it is dropped.
#[derive(Debug)]
pub struct Spinners {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Spinners {
    /// That many threads of ordinary priority.
    pub fn start(count: usize) -> Result<Self> {
        let mut spinners = Self {
            over: Arc::default(),
            threads: Vec::new(),
        };
        for _ in 0..count {
            let over = Arc::clone(&spinners.over);
            let thread = thread::Builder::new()
                .name("spinner".to_owned())
                .spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        hint::spin_loop();
                    }
                })
                .context("start a spinning thread")?;
            spinners.threads.push(thread);
        }
        Ok(spinners)
    }
}

impl Drop for Spinners {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It has nothing that could panic.
            let _ = thread.join();
        }
    }
}
