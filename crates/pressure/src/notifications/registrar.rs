//! The thread that registers threshold notifications.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::pending::{Next, Pending, Request};
use crate::cgroup::is_gone;

pub(super) const CONTROL: &str = "cgroup.event_control";

/// Registers in a thread of its own, since the kernel takes 8 to 24 ms for each: it waits for an RCU grace
/// period (`__mem_cgroup_usage_register_event`). Dropped, the thread ends after the one it is at, which is
/// not waited for.
#[derive(Default)]
pub(crate) struct Registrar {
    shared: Arc<Shared>,
    started: bool,
    logged: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    pending: Pending,
    ended: bool,
}

// === impl Registrar ===

impl Registrar {
    /// The eventfd is readable once all are registered: the kernel does not notify of what was crossed before.
    pub(super) fn request(&mut self, request: Request) {
        if let Err(error) = self.start() {
            self.log_refusal(&error);
            return;
        }
        self.shared.lock().pending.add(request);
        self.shared.changed.notify_one();
    }

    pub(super) fn log_refusal(&mut self, error: &io::Error) {
        log_refusal(&mut self.logged, error);
    }

    fn start(&mut self) -> io::Result<()> {
        if !self.started {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("notifications".to_owned());
            thread.spawn(move || shared.run())?;
            self.started = true;
        }
        Ok(())
    }
}

impl Drop for Registrar {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_one();
    }
}

// === impl Shared ===

impl Shared {
    fn run(&self) {
        let mut logged = false;
        while let Some(next) = self.next() {
            match register(&next) {
                // More than one notification does no harm.
                Ok(()) if next.last => {
                    let _full = rustix::io::write(&*next.eventfd, &1u64.to_ne_bytes());
                }
                Ok(()) => {}
                Err(error) => {
                    self.lock().pending.forget(&next.eventfd);
                    if !is_gone(&error) {
                        log_refusal(&mut logged, &error);
                    }
                }
            }
        }
    }

    /// Asleep while there is none; `None` at the end.
    fn next(&self) -> Option<Next> {
        let mut state = self.lock();
        loop {
            if state.ended {
                return None;
            }
            if let Some(next) = state.pending.pop() {
                return Some(next);
            }
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn register(next: &Next) -> io::Result<()> {
    let usage = File::open(next.dir.join("memory.usage_in_bytes"))?;
    let mut control = OpenOptions::new()
        .write(true)
        .open(next.dir.join(CONTROL))?;
    let (eventfd, usage) = (next.eventfd.as_raw_fd(), usage.as_raw_fd());
    control.write_all(format!("{eventfd} {usage} {}", next.threshold).as_bytes())
}

fn log_refusal(logged: &mut bool, error: &io::Error) {
    if !*logged {
        tracing::info!(
            %error,
            "no threshold notifications of cgroup v1: fast growth is found by sampling more often"
        );
    }
    *logged = true;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_thread_ends_with_it() {
        let setter = Registrar::default();
        let shared = Arc::clone(&setter.shared);
        let (ending, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            shared.run();
            ending.send(()).unwrap();
        });
        drop(setter);
        assert_eq!(ended.recv_timeout(Duration::from_secs(20)), Ok(()));
    }
}
