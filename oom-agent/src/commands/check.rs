//! `oom-agent check`: whether this kernel accepts the BPF programs.

use std::io::{self, Write};

use super::CommandError;
use oom_capture::probe::{Probe, ProbeError, VerifiedProgram};

/// Loads every program, attaches none, and writes a table.
pub(crate) fn run(mut out: impl Write) -> Result<(), CommandError> {
    let verified = Probe::verify().map_err(|error| {
        if let ProbeError::Verifier { log, .. } = &error {
            // The refusal matters, not whether its log could be written.
            let _unread = writeln!(out, "{log}");
        }
        CommandError::Refused(error)
    })?;
    write_table(&verified, &mut out).map_err(CommandError::Write)
}

fn write_table(verified: &[VerifiedProgram], out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{:<20} {:>12} {:>12}  maps",
        "program", "verified", "JITed bytes"
    )?;
    for program in verified {
        let verified = program
            .verified_instructions
            .map_or_else(|| "-".to_owned(), |count| count.to_string());
        writeln!(
            out,
            "{:<20} {:>12} {:>12}  {}",
            program.program,
            verified,
            program.jited_bytes,
            program.maps.join(" ")
        )?;
    }
    out.flush()
}
