//! Ctrl-C ends waits instead of the process, so that guards clean up.

use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

/// Readable once a signal has come: nothing reads it.
static SIGNALLED: OnceLock<UnixStream> = OnceLock::new();

/// From here on SIGINT, SIGTERM and SIGHUP end what waits for a child's output,
/// and [`check`].
pub fn catch() -> Result<()> {
    let (read, write) = UnixStream::pair().context("make a socket for signals")?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let write = write.try_clone().context("share a socket")?;
        pipe::register(signal, write).context("catch signals")?;
    }
    SIGNALLED.get_or_init(|| read);
    Ok(())
}

/// Fails once a signal has come.
pub fn check() -> Result<()> {
    pause(Duration::ZERO)
}

/// Sleeps; a signal ends it.
pub fn pause(length: Duration) -> Result<()> {
    let end = Instant::now() + length;
    let signalled = SIGNALLED.get();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).context("a pause that fits")?;
        let fds = signalled.map(|signalled| PollFd::new(signalled, PollFlags::IN));
        match poll(
            fds.into_iter().collect::<Vec<_>>().as_mut_slice(),
            Some(&left),
        ) {
            Ok(0) => return Ok(()),
            Ok(_) => bail!("interrupted"),
            // Of any signal; it shows with the next look which.
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("sleep"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_pause_lasts() {
        let (start, length) = (Instant::now(), Duration::from_millis(50));
        pause(length).unwrap();
        assert!(start.elapsed() >= length);
    }
}
