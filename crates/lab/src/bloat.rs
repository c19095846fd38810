//! `cargo xtask bloat`: what `OOMHero`'s example pod runs, but that it acts on the signals: it frees
//! its memory, where `OOMHero`'s own has itself restarted.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use xtask::terminal;

use crate::hog::chunk;
use crate::http;

/// As the example's probe has it.
const PORT: u16 = 8080;

/// One MiB at a time: from 90 % of 256 MiB on there are 1.3 s left.
const STEP: Duration = Duration::from_millis(50);

/// Grows until it is warned that it comes near its limit, and lives on.
pub fn main() -> Result<()> {
    let mut signals = Signals::new([SIGUSR1, SIGUSR2]).context("catch signals")?;
    let (sender, received) = sync_channel(8);
    thread::spawn(move || signals.forever().try_for_each(|signal| sender.send(signal)));
    let address = SocketAddr::from(([0, 0, 0, 0], PORT));
    let listener = TcpListener::bind(address).with_context(|| format!("listen on {address}"))?;
    let _probes = http::serve(listener, |_, _, _| terminal::line("live"))?;
    let mut eaten = Some(Vec::new());
    terminal::line("growing");
    loop {
        let signal = if eaten.is_some() {
            received.recv_timeout(STEP)
        } else {
            received.recv().map_err(RecvTimeoutError::from)
        };
        let had = eaten.as_ref().map_or(0, Vec::len);
        match signal {
            Ok(SIGUSR2) => {
                eaten = None;
                terminal::line(format_args!("let go at {had} MiB"));
            }
            Ok(_) => terminal::line(format_args!("warned at {had} MiB")),
            Err(RecvTimeoutError::Timeout) => eaten.get_or_insert_default().push(chunk()),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}
