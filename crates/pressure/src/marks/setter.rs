//! The thread that sets marks.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::super::read::is_gone;
use super::asked::{Ask, Asked, Next};
use super::control;

/// Has marks set by a thread of its own, since the kernel takes 8 to 24 ms for each: it waits for RCU
/// to have readers see it (`__mem_cgroup_usage_register_event`). Dropped, the thread ends after the
/// one it is at, which is not waited for.
#[derive(Default)]
pub(in super::super) struct Setter {
    shared: Arc<Shared>,
    started: bool,
    /// That marks cannot be had: once.
    said: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    asked: Asked<OwnedFd>,
    ended: bool,
}

// === impl Setter ===

impl Setter {
    /// What tells is readable once all are set: what was crossed before is not told of.
    pub(super) fn ask(&mut self, ask: Ask<OwnedFd>) {
        if let Err(error) = self.start() {
            self.say(&error);
            return;
        }
        self.shared.lock().asked.ask(ask);
        self.shared.changed.notify_one();
    }

    /// Why there are none.
    pub(super) fn say(&mut self, error: &io::Error) {
        say(&mut self.said, error);
    }

    fn start(&mut self) -> io::Result<()> {
        if !self.started {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("marks".to_owned());
            thread.spawn(move || shared.run())?;
            self.started = true;
        }
        Ok(())
    }
}

impl Drop for Setter {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_one();
    }
}

// === impl Shared ===

impl Shared {
    fn run(&self) {
        let mut said = false;
        while let Some(next) = self.next() {
            match set(&next) {
                // It cannot have been told too often.
                Ok(()) if next.last => {
                    let _full = rustix::io::write(&*next.told, &1u64.to_ne_bytes());
                }
                Ok(()) => {}
                Err(error) => {
                    self.lock().asked.forget(&next.told);
                    if !is_gone(&error) {
                        say(&mut said, &error);
                    }
                }
            }
        }
    }

    /// Asleep while there is none; `None` at the end.
    fn next(&self) -> Option<Next<OwnedFd>> {
        let mut state = self.lock();
        loop {
            if state.ended {
                return None;
            }
            if let Some(next) = state.asked.next() {
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

fn set(next: &Next<OwnedFd>) -> io::Result<()> {
    let usage = File::open(next.dir.join("memory.usage_in_bytes"))?;
    let mut control = OpenOptions::new().write(true).open(control(&next.dir))?;
    let (told, usage) = (next.told.as_raw_fd(), usage.as_raw_fd());
    control.write_all(format!("{told} {usage} {}", next.mark).as_bytes())
}

fn say(said: &mut bool, error: &io::Error) {
    if !*said {
        tracing::info!(
            %error,
            "the kernel does not tell when a container crosses a mark: fast growth is seen by reading it more often"
        );
    }
    *said = true;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_thread_ends_with_it() {
        let setter = Setter::default();
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
