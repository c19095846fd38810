//! The files of one exported channel, and in which order they may be written.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

/// How long the files of a channel that was just exported may take to come and to be given
/// to this user: udev does it, after the kernel made them.
pub(super) const EXPORT_DEADLINE: Duration = Duration::from_secs(2);

/// A change to be written, in ns where it is a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write {
    Enable(bool),
    Period(u64),
    Duty(u64),
}

/// The last values of a channel, in ns; at first, those of its files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) period: u64,
    pub(super) duty: u64,
    pub(super) enabled: bool,
}

/// The writes from `now` to pulses of `duty` in each `period`. The kernel refuses a duty
/// above its period and to enable without a period, at every moment; and a running
/// channel's period is not changed under the servo.
pub(super) fn start_writes(now: State, period: u64, duty: u64) -> Vec<Write> {
    let mut writes = Vec::new();
    if now.period != period {
        writes.extend(stop_writes(now));
        writes.push(Write::Period(period));
    }
    writes.push(Write::Duty(duty));
    if writes.contains(&Write::Enable(false)) || !now.enabled {
        writes.push(Write::Enable(true));
    }
    writes
}

/// The writes from `now` to no pulses. The chip takes a duty of 0 at the end of the period it
/// is in, and disabling at once: a frame has to pass between the two, else the last pulse is
/// cut and the servo jerks.
pub(super) fn stop_writes(now: State) -> Vec<Write> {
    let mut writes = Vec::new();
    if now.duty != 0 {
        writes.push(Write::Duty(0));
    }
    if now.enabled {
        writes.push(Write::Enable(false));
    }
    writes
}

/// Writes an attribute of sysfs, which exists or is not created.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).truncate(true).open(path)?;
    // One write: sysfs takes each as a whole value.
    file.write_all(text.as_bytes())
}

/// Waits until each of `files` in `dir` can be written, or the last answer at the deadline.
/// `parent` is where `dir` appears.
pub(super) fn writable(
    parent: &Path,
    dir: &Path,
    files: &[&str],
) -> Result<(), (PathBuf, io::Error)> {
    let deadline = Instant::now() + EXPORT_DEADLINE;
    let watch = Watch::new(parent);
    loop {
        // Before the look, so that nothing is missed between the two.
        watch.add(dir);
        let refused = files.iter().find_map(|name| {
            let path = dir.join(name);
            let opened = OpenOptions::new().write(true).open(&path);
            opened.err().map(|why| (path, why))
        });
        let Some((path, why)) = refused else {
            return Ok(());
        };
        let not_yet = [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied];
        let left = deadline.saturating_duration_since(Instant::now());
        if !not_yet.contains(&why.kind()) || left.is_zero() {
            return Err((path, why));
        }
        watch.wait(left);
    }
}

/// Waits until files appear or change their owner; without inotify, until some time has passed.
struct Watch(Option<rustix::fd::OwnedFd>);

// === impl Watch ===

impl Watch {
    fn new(parent: &Path) -> Self {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let watch = Self(inotify::init(flags).ok());
        watch.add(parent);
        watch
    }

    fn add(&self, dir: &Path) {
        let wanted = inotify::WatchFlags::CREATE | inotify::WatchFlags::ATTRIB;
        if let Some(fd) = &self.0 {
            // A file that does not exist yet is announced by its parent.
            let _ = inotify::add_watch(fd, dir, wanted);
        }
    }

    /// Until something happens, at most `left`. Never over a tenth of a second: not every
    /// kernel announces what it makes in sysfs itself.
    fn wait(&self, left: Duration) {
        let nap = left.min(Duration::from_millis(100));
        let timeout = Timespec::try_from(nap).ok();
        let mut fds: Vec<PollFd<'_>> = self
            .0
            .iter()
            .map(|fd| PollFd::new(fd, PollFlags::IN))
            .collect();
        // An interruption is one more look.
        let _ = poll(&mut fds, timeout.as_ref());
        if let Some(fd) = &self.0 {
            let mut space = [std::mem::MaybeUninit::uninit(); 4096];
            let mut events = inotify::Reader::new(fd, &mut space);
            while events.next().is_ok() {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{State, Write, start_writes, stop_writes};

    /// `pwm_apply_state` and the attributes of drivers/pwm: false for EINVAL.
    fn kernel_takes(state: &mut State, write: Write) -> bool {
        let mut next = *state;
        match write {
            Write::Enable(on) => next.enabled = on,
            Write::Period(period) => next.period = period,
            Write::Duty(duty) => next.duty = duty,
        }
        let sound = next.duty <= next.period && (!next.enabled || next.period > 0);
        if sound {
            *state = next;
        }
        sound
    }

    proptest! {
        /// Invariant: whatever a channel was left at, the kernel takes every write, and no
        /// pulse is sent in another period than the servo's.
        #[test]
        fn every_write_is_taken(
            (old, part, on) in (0..50_000_000_u64, 0..=100_u64, any::<bool>()),
            pulses in prop::collection::vec(prop::option::of(500_000..2_500_000_u64), 1..8),
        ) {
            const PERIOD: u64 = 20_000_000;
            let mut state = State { period: old, duty: old * part / 100, enabled: on && old > 0 };
            for pulse in pulses {
                let writes = match pulse {
                    Some(duty) => start_writes(state, PERIOD, duty),
                    None => stop_writes(state),
                };
                for write in writes {
                    prop_assert!(kernel_takes(&mut state, write), "{write:?} on {state:?}");
                    if write == Write::Enable(true) {
                        prop_assert_eq!(state.period, PERIOD);
                    }
                }
                match pulse {
                    Some(duty) => prop_assert_eq!(
                        state, State { period: PERIOD, duty, enabled: true }
                    ),
                    None => prop_assert!(!state.enabled && state.duty == 0),
                }
            }
        }
    }
}
