//! The kernel stamps in `CLOCK_MONOTONIC`; people read UTC.

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC` now, in ns: what `bpf_ktime_get_ns` stamps with.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (
        u64::try_from(now.tv_sec).unwrap_or(0),
        u64::try_from(now.tv_nsec).unwrap_or(0),
    );
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// A stamp on the clock that counts a suspended host's time, too: `CLOCK_BOOTTIME`, in ns.
pub fn since_boot_ns(stamp_ns: u64) -> u64 {
    let boot = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(boot.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(boot.tv_nsec).unwrap_or(0);
    let boot_ns = seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    stamp_ns.saturating_add(boot_ns.saturating_sub(monotonic_ns()))
}

/// The moment of a stamp, given both clocks at one later moment.
pub fn wall(stamp_ns: u64, now_ns: u64, now: Timestamp) -> Timestamp {
    let ago = i64::try_from(now_ns.saturating_sub(stamp_ns)).unwrap_or(i64::MAX);
    now.checked_sub(SignedDuration::from_nanos(ago))
        .unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_lies_as_far_back_on_the_wall_as_on_the_monotonic_clock() {
        let now: Timestamp = "2026-11-21T09:00:01Z".parse().unwrap();
        let stamped = wall(5_000_000_000, 5_250_000_001, now);
        assert_eq!(stamped.to_string(), "2026-11-21T09:00:00.749999999Z");
    }

    #[test]
    fn a_stamp_of_the_future_is_now() {
        let now: Timestamp = "2026-11-21T09:00:01Z".parse().unwrap();
        assert_eq!(wall(7, 6, now), now);
    }
}
