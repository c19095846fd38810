//! In which order the files of an exported channel may be written. Pure.

/// A change to be written, in ns where it is a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write {
    Enable(bool),
    Period(u64),
    Duty(u64),
}

/// The last values of a channel, in ns; at first, those of its files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) period: u64,
    pub(super) duty: u64,
    pub(super) enabled: bool,
}

/// The writes from `now` to pulses of `duty` in each `period`. The kernel refuses a duty
/// above its period and to enable without a period, at every moment; and a running
/// channel's period is not changed under the servo.
pub(super) fn start_writes(now: State, period: u64, duty: u64) -> Vec<Write> {
    let mut writes = Vec::new();
    if now.period != period {
        writes.extend(stop_writes(now));
        writes.push(Write::Period(period));
    }
    writes.push(Write::Duty(duty));
    if writes.contains(&Write::Enable(false)) || !now.enabled {
        writes.push(Write::Enable(true));
    }
    writes
}

/// The writes from `now` to no pulses. The chip takes a duty of 0 at the end of the period it
/// is in, and disabling at once: a frame has to pass between the two, else the last pulse is
/// cut and the servo jerks.
pub(super) fn stop_writes(now: State) -> Vec<Write> {
    let mut writes = Vec::new();
    if now.duty != 0 {
        writes.push(Write::Duty(0));
    }
    if now.enabled {
        writes.push(Write::Enable(false));
    }
    writes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{State, Write, start_writes, stop_writes};

    /// `pwm_apply_state` and the attributes of drivers/pwm: false for EINVAL.
    fn kernel_takes(state: &mut State, write: Write) -> bool {
        let mut next = *state;
        match write {
            Write::Enable(on) => next.enabled = on,
            Write::Period(period) => next.period = period,
            Write::Duty(duty) => next.duty = duty,
        }
        let sound = next.duty <= next.period && (!next.enabled || next.period > 0);
        if sound {
            *state = next;
        }
        sound
    }

    proptest! {
        /// Invariant: whatever a channel was left at, the kernel takes every write, and no
        /// pulse is sent in another period than the servo's.
        #[test]
        fn every_write_is_taken(
            (old, part, on) in (0..50_000_000_u64, 0..=100_u64, any::<bool>()),
            pulses in prop::collection::vec(prop::option::of(500_000..2_500_000_u64), 1..8),
        ) {
            const PERIOD: u64 = 20_000_000;
            let mut state = State { period: old, duty: old * part / 100, enabled: on && old > 0 };
            for pulse in pulses {
                let writes = match pulse {
                    Some(duty) => start_writes(state, PERIOD, duty),
                    None => stop_writes(state),
                };
                for write in writes {
                    prop_assert!(kernel_takes(&mut state, write), "{write:?} on {state:?}");
                    if write == Write::Enable(true) {
                        prop_assert_eq!(state.period, PERIOD);
                    }
                }
                match pulse {
                    Some(duty) => prop_assert_eq!(
                        state, State { period: PERIOD, duty, enabled: true }
                    ),
                    None => prop_assert!(!state.enabled && state.duty == 0),
                }
            }
        }
    }
}
