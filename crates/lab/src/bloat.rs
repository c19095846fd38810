//! `cargo xtask bloat`: what `OOMHero`'s example pod runs, but that it acts on the signals: it frees
//! its memory, where `OOMHero`'s own has itself restarted.

use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use xtask::terminal;

use crate::hog::grow;
use crate::http;

/// As the example's probe has it.
const PORT: u16 = 8080;

/// One MiB at a time: from 90 % of 256 MiB on there are 1.3 s left.
const STEP: Duration = Duration::from_millis(50);

/// Grows until it is warned that it comes near its limit, and lives on.
pub fn main() -> Result<()> {
    let address = SocketAddr::from(([0, 0, 0, 0], PORT));
    let listener = TcpListener::bind(address).with_context(|| format!("listen on {address}"))?;
    let _probes = http::serve(listener, |_, _, _| terminal::line("live"))?;
    drop(grow(usize::MAX, STEP)?);
    loop {
        thread::park();
    }
}
