//! Converts the kernel's stamps, which are of `CLOCK_MONOTONIC`, to other clocks.

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC` now, in ns. `bpf_ktime_get_ns` reads the same clock.
pub fn monotonic_ns() -> u64 {
    read_ns(ClockId::Monotonic)
}

/// A stamp on `CLOCK_BOOTTIME`, in ns, which also runs while the host is suspended.
pub fn to_boot_ns(stamp_ns: u64) -> u64 {
    let ahead_ns = read_ns(ClockId::Boottime).saturating_sub(monotonic_ns());
    stamp_ns.saturating_add(ahead_ns)
}

fn read_ns(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// The wall time of a stamp, by both clocks at one later moment.
pub fn wall_time(stamp_ns: u64, now_ns: u64, now: Timestamp) -> Timestamp {
    let ago = i64::try_from(now_ns.saturating_sub(stamp_ns)).unwrap_or(i64::MAX);
    now.checked_sub(SignedDuration::from_nanos(ago))
        .unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_as_old_on_the_wall_clock() {
        let now: Timestamp = "2026-11-21T09:00:01Z".parse().unwrap();
        let stamped = wall_time(5_000_000_000, 5_250_000_001, now);
        assert_eq!(stamped.to_string(), "2026-11-21T09:00:00.749999999Z");
    }

    #[test]
    fn a_stamp_of_the_future_is_now() {
        let now: Timestamp = "2026-11-21T09:00:01Z".parse().unwrap();
        assert_eq!(wall_time(7, 6, now), now);
    }
}
