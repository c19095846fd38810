//! Whether threads that must live as long as the program are alive.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Whether all guarded threads are alive. Clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Liveness {
    ended: Arc<AtomicUsize>,
}

/// A thread holds it. Its drop reports the thread's end, also by a panic.
#[derive(Debug)]
pub struct ThreadGuard(Arc<AtomicUsize>);

// === impl Liveness ===

impl Liveness {
    /// A guard for a thread to hold.
    pub fn guard_thread(&self) -> ThreadGuard {
        ThreadGuard(Arc::clone(&self.ended))
    }

    /// Whether no guarded thread has ended.
    pub fn is_live(&self) -> bool {
        self.ended.load(Ordering::Relaxed) == 0
    }
}

impl Drop for ThreadGuard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panics_is_not_alive() {
        let liveness = Liveness::default();
        let guard = liveness.guard_thread();
        assert!(liveness.is_live());
        let thread = std::thread::spawn(move || {
            let _guard = guard;
            panic!("as a bug would");
        });
        assert!(thread.join().is_err());
        assert!(!liveness.is_live());
    }
}
