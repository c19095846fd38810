//! When a cgroup is looked at again before the next pass. Pure.

use super::usage::Usage;

/// Two looks at one cgroup are that far apart at least, in ns.
pub(super) const APART_NS: u64 = 50_000_000;

/// Who would be at its limit within that time at its present pace is looked at in between, in ns.
const NEAR_NS: u64 = 5_000_000_000;

/// Memory comes by steps: between two prompt looks there may be none. So its growth is reckoned over
/// that long at least, too; twice that at most while looks are prompt, in ns.
const SPAN_NS: u64 = 500_000_000;

/// What is known of how fast one cgroup changes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    last: Option<(u64, u64)>,
    /// Looks that stand a span apart, the older one first.
    spaced: [Option<(u64, u64)>; 2],
    near: bool,
    told: bool,
}

// === impl Pace ===

impl Pace {
    /// The kernel told of it.
    pub(super) fn tell(&mut self) {
        self.told = true;
    }

    /// It was looked at.
    pub(super) fn look(&mut self, usage: &Usage) {
        self.told = false;
        let now = (usage.at_ns, usage.current);
        let [older, newer] = self.spaced;
        self.near = usage.limit.is_some_and(|limit| {
            let before = [older, self.last];
            let mut before = before.into_iter().flatten();
            before.any(|then| nears(then, usage, limit))
        });
        if newer.is_none_or(|(at_ns, _)| now.0.saturating_sub(at_ns) >= SPAN_NS) {
            self.spaced = [newer, Some(now)];
        }
        self.last = Some(now);
    }

    /// When it is worth another look, in ns; `None`: with all others.
    pub(super) fn next_ns(&self) -> Option<u64> {
        let due = |(at_ns, _): (u64, u64)| at_ns.saturating_add(APART_NS);
        (self.near || self.told).then(|| self.last.map_or(0, due))
    }
}

/// It would be at its limit soon, if it went on like that. One that is there already gains nothing.
fn nears((then_ns, then): (u64, u64), now: &Usage, limit: u64) -> bool {
    let grown = u128::from(now.current.saturating_sub(then));
    let took_ns = u128::from(now.at_ns.saturating_sub(then_ns));
    let left = u128::from(limit.saturating_sub(now.current));
    grown > 0 && left > 0 && left.saturating_mul(took_ns) <= grown.saturating_mul(NEAR_NS.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(at_ns: u64, current: u64) -> Usage {
        Usage {
            at_ns,
            current,
            working_set: current,
            limit: Some(1000),
            throttles: false,
            psi: None,
        }
    }

    fn after(looks: &[Usage]) -> Pace {
        let mut pace = Pace::default();
        for usage in looks {
            pace.look(usage);
        }
        pace
    }

    #[test]
    fn who_grows_towards_its_limit_is_looked_at_sooner() {
        let check = |looks: &[Usage], next| assert_eq!(after(looks).next_ns(), next, "{looks:?}");
        check(&[at(0, 100)], None);
        check(&[at(0, 100), at(SECOND, 200)], None);
        check(&[at(0, 100), at(SECOND, 250)], Some(SECOND + APART_NS));
        check(&[at(0, 100), at(SECOND, 250), at(2 * SECOND, 250)], None);
        check(&[at(0, 900), at(SECOND, 800)], None);
        check(&[at(0, 900), at(SECOND, 1000)], None);
        let unlimited = Usage {
            limit: None,
            ..at(SECOND, 999)
        };
        check(&[at(0, 100), unlimited], None);
    }

    /// As the sampler does: all once a second, and those that are due in between.
    #[test]
    fn who_grows_by_steps_is_not_lost_between_two_of_them() {
        for every_ms in [20, 60, 120, 250, 450] {
            let (mut pace, mut pass_ns, mut now_ns, mut longest_ns) = (Pace::default(), 0, 0, 0);
            // It takes some seconds in any case.
            let step = every_ms / 7 + 1;
            let used = |ns: u64| 100 + ns / (every_ms * 1_000_000) * step;
            while used(now_ns) < 1000 {
                pace.look(&at(now_ns, used(now_ns)));
                let next_ns = pace.next_ns().unwrap_or(u64::MAX);
                if pass_ns <= now_ns {
                    pass_ns += SECOND;
                }
                let then_ns = next_ns.min(pass_ns);
                if used(now_ns) > 600 {
                    longest_ns = longest_ns.max(then_ns - now_ns);
                }
                now_ns = then_ns;
            }
            assert_eq!(longest_ns, APART_NS, "a step every {every_ms} ms");
        }
    }

    #[test]
    fn who_grows_no_more_is_left_to_the_pass_after_a_second() {
        let mut pace = after(&[at(0, 100), at(SECOND, 400)]);
        let looks = (1..100).find(|n| {
            pace.look(&at(SECOND + n * APART_NS, 400));
            pace.next_ns().is_none()
        });
        assert!(
            looks.is_some_and(|n| n * APART_NS <= 2 * SECOND),
            "{looks:?}"
        );
    }

    #[test]
    fn whom_the_kernel_tells_of_is_looked_at_once_and_not_too_soon() {
        let mut pace = Pace::default();
        pace.tell();
        assert_eq!(pace.next_ns(), Some(0));
        pace.look(&at(SECOND, 100));
        assert_eq!(pace.next_ns(), None);
        pace.tell();
        assert_eq!(pace.next_ns(), Some(SECOND + APART_NS));
    }

    proptest! {
        /// Whatever is seen, in whatever order, two looks are apart.
        #[test]
        fn looks_are_apart(looks: Vec<(u64, u64)>, told: bool) {
            let looks: Vec<Usage> = looks.iter().map(|(ns, current)| at(*ns, *current)).collect();
            let mut pace = after(&looks);
            if told {
                pace.tell();
            }
            if let (Some(next), Some(last)) = (pace.next_ns(), looks.last()) {
                prop_assert!(next >= last.at_ns.saturating_add(APART_NS));
            }
        }
    }
}
