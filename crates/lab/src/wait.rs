//! The one bounded poll, for conditions that nothing announces.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::event::{Timespec, poll};

/// Only what hangs takes so long, on a busy machine, too.
pub const HANG: Duration = Duration::from_mins(3);

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(10);

/// Looks at a condition every 10 ms until it holds or `within` has passed: for
/// what has no event to wait for, such as an empty cgroup or a server's
/// readiness. It never assumes that a condition holds because time went by.
pub fn until<T>(
    what: &str,
    within: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    let interval = Timespec::try_from(INTERVAL).context("an interval that fits")?;
    loop {
        if let Some(found) = condition() {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {within:?}");
        }
        let _ = poll(&mut [], Some(&interval));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_with_what_was_found() {
        let mut looks = 0;
        let found = until("third look", Duration::from_secs(10), || {
            looks += 1;
            (looks == 3).then_some("found")
        });
        assert_eq!(found.unwrap(), "found");
    }

    #[test]
    fn looks_once_more_than_never() {
        let error = until("nothing", Duration::ZERO, || None::<()>).unwrap_err();
        assert_eq!(error.to_string(), "nothing: not within 0ns");
        assert!(until("all", Duration::ZERO, || Some(())).is_ok());
    }
}
