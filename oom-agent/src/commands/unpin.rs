//! `oom-agent unpin`: removes what `oom-agent run --pin` has pinned.

use std::io::{self, Write};
use std::path::Path;

use oom_capture::probe::{self, PinError};

/// `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum UnpinError {
    #[error("cannot unpin the programs")]
    Pinned(#[source] PinError),
    #[error("cannot write to standard output")]
    Write(#[source] io::Error),
}

/// Removes the pins below `pin` and writes the result.
pub(crate) fn run(pin: &Path, mut out: impl Write) -> Result<(), UnpinError> {
    let result = if probe::unpin_all(pin).map_err(UnpinError::Pinned)? {
        "removed"
    } else {
        "nothing is pinned there"
    };
    writeln!(out, "{}: {result}", pin.display()).map_err(UnpinError::Write)
}
