//! cgroup v1: the kernel tells when the usage crosses a mark. Documentation/admin-guide/cgroup-v1/memory.rst,
//! "Memory thresholds".

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::event::{EventfdFlags, eventfd};

/// In percent of the limit: dense enough that whatever is asked for lies just after one.
const MARKS: [u64; 8] = [50, 60, 70, 75, 80, 85, 90, 95];

/// Gives what becomes readable when the cgroup's usage crosses a mark in either direction, and at its
/// end; closed, the kernel forgets it. Needs to write to the cgroup's `cgroup.event_control`.
pub(super) fn register(dir: &Path, limit: u64) -> io::Result<OwnedFd> {
    let told = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let usage = File::open(dir.join("memory.usage_in_bytes"))?;
    let control = dir.join("cgroup.event_control");
    let mut control = OpenOptions::new().write(true).open(control)?;
    for mark in MARKS {
        let bytes = u128::from(limit) * u128::from(mark) / 100;
        let line = format!("{} {} {bytes}", told.as_raw_fd(), usage.as_raw_fd());
        control.write_all(line.as_bytes())?;
    }
    Ok(told)
}

/// Not readable until the next crossing.
pub(super) fn reset(told: &OwnedFd) {
    // What it has to say is that it can be read.
    let _count = rustix::io::read(told, &mut [0; 8]);
}
