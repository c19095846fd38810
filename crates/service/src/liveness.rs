//! Threads that are not to end before the program does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Tells whether every one of them lives. A clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Liveness {
    ended: Arc<AtomicUsize>,
}

/// Its drop tells that the thread that has it ended, by a panic, too.
#[derive(Debug)]
pub struct Ending(Arc<AtomicUsize>);

// === impl Liveness ===

impl Liveness {
    /// For the thread to keep.
    pub fn ending(&self) -> Ending {
        Ending(Arc::clone(&self.ended))
    }

    /// No thread has ended. Nothing is asked: each tells at its end.
    pub fn is_live(&self) -> bool {
        self.ended.load(Ordering::Relaxed) == 0
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_ends_is_told_even_by_a_panic() {
        let liveness = Liveness::default();
        let ending = liveness.ending();
        assert!(liveness.is_live());
        let thread = std::thread::spawn(move || {
            let _ending = ending;
            panic!("as a bug would");
        });
        assert!(thread.join().is_err());
        assert!(!liveness.is_live());
    }
}
