//! What the guest writes to its host.

use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};
use xtask::terminal;

use crate::qemu::PREFIX;

/// Writes one line of the guest's own.
pub(super) fn write(value: &Value) {
    terminal::line(format_args!("{PREFIX}{value}"));
}

/// Runs a case and writes its outcome: what was expected and what the agent reported, or an error.
pub(super) fn run_case(name: &str, case: impl FnOnce() -> Result<Value>) {
    let begun = Instant::now();
    let outcome = case().unwrap_or_else(|error| json!({"error": format!("{error:#}")}));
    let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    write(&json!({"case": name, "took_ms": took, "outcome": outcome}));
}
