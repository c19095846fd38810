//! When a cgroup is looked at again before the next pass. Pure.

use super::usage::Usage;

/// Two looks at one cgroup are that far apart at least, in ns.
pub(super) const APART_NS: u64 = 50_000_000;

/// Who would be at its limit within that time at its present pace is looked at in between, in ns.
const NEAR_NS: u64 = 5_000_000_000;

/// What is known of how fast one cgroup changes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    last: Option<(u64, u64)>,
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
        self.near = usage
            .limit
            .zip(self.last)
            .is_some_and(|(limit, last)| nears(last, usage, limit));
        self.last = Some((usage.at_ns, usage.current));
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
