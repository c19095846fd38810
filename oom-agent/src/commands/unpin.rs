//! `oom-agent unpin`: removes what `oom-agent run --pin` leaves.

use std::io::{self, Write};
use std::path::Path;

use oom_capture::probe::{self, PinError};

/// Why it is still there. `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpinError {
    /// It could not be removed.
    #[error("the programs stay pinned")]
    Pinned(#[source] PinError),
    /// What was done could not be told.
    #[error("cannot write to standard output")]
    Write(#[source] io::Error),
}

/// Removes it and says so.
pub fn run(pin: &Path, mut out: impl Write) -> Result<(), UnpinError> {
    let said = if probe::unpin_all(pin).map_err(UnpinError::Pinned)? {
        "removed"
    } else {
        "nothing is pinned there"
    };
    writeln!(out, "{}: {said}", pin.display()).map_err(UnpinError::Write)
}
