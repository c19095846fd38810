//! The commands that watch nothing.

pub(crate) mod cgroup;
pub(crate) mod check;
pub(crate) mod unpin;

use std::io;

use oom_capture::probe::{PinError, ProbeError};

/// `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// The verifier's log is written before.
    #[error("this kernel does not accept the BPF programs")]
    Refused(#[source] ProbeError),
    #[error("cannot unpin the programs")]
    Pinned(#[source] PinError),
    #[error("cannot write to standard output")]
    Write(#[source] io::Error),
}
