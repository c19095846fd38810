//! `oom-agent unpin`: removes what `oom-agent run --pin` has pinned.

use std::io::Write;
use std::path::Path;

use super::CommandError;
use oom_capture::probe;

/// Removes the pins below `pin` and writes the result.
pub(crate) fn run(pin: &Path, mut out: impl Write) -> Result<(), CommandError> {
    let result = if probe::unpin_all(pin).map_err(CommandError::Pinned)? {
        "removed"
    } else {
        "nothing is pinned there"
    };
    writeln!(out, "{}: {result}", pin.display()).map_err(CommandError::Write)
}
