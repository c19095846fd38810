//! `oom-agent check`: whether this kernel takes the programs.

use std::io::{self, Write};

use oom_capture::probe::{Probe, ProbeError, VerifiedProgram};

/// Why the check failed. `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The kernel refuses a program; a verifier's log is written before.
    #[error("this kernel does not take the programs")]
    Refused(#[source] ProbeError),
    /// The table could not be shown.
    #[error("cannot write to standard output")]
    Write(#[source] io::Error),
}

/// Loads every program, attaches none, writes a table.
pub fn run(mut out: impl Write) -> Result<(), CheckError> {
    let verified = Probe::verify().map_err(|error| {
        if let ProbeError::Verifier { log, .. } = &error {
            // The refusal stands, whether anybody reads the log or not.
            let _unread = writeln!(out, "{log}");
        }
        CheckError::Refused(error)
    })?;
    write(&verified, &mut out).map_err(CheckError::Write)
}

fn write(verified: &[VerifiedProgram], out: &mut impl Write) -> io::Result<()> {
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
