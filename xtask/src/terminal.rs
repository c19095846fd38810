//! The one writer of what a person at the terminal reads.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// Announces what is about to be done.
pub fn step(text: impl Display) {
    line(format_args!("==> {text}"));
}

/// Writes one line to standard output. A closed pipe ends nothing: the work
/// matters more than its log.
pub fn line(text: impl Display) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Whether the person at the terminal agrees; only an explicit yes is one.
pub(crate) fn confirm(question: impl Display) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    write!(out, "{question} [y/N] ")?;
    out.flush()?;
    drop(out);
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(
        answer.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}

/// What a program ends with; an error is written first.
pub fn exit_code(done: anyhow::Result<ExitCode>) -> ExitCode {
    done.unwrap_or_else(|why| {
        error(&why);
        ExitCode::FAILURE
    })
}

/// Writes an error with its whole chain to standard error.
pub fn error(error: &anyhow::Error) {
    let _ = writeln!(io::stderr().lock(), "error: {error:#}");
}
