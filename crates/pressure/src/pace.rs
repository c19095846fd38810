//! When a cgroup is sampled again before the next sweep. Pure.

use super::sample::Sample;

/// Two samples of one cgroup are that far apart at least, in ns.
pub(super) const APART_NS: u64 = 50_000_000;

/// A cgroup that would be at its limit within that time at its present pace is sampled in between, in ns.
const NEAR_NS: u64 = 5_000_000_000;

/// Memory comes by steps: between two prompt samples there may be none. So its growth is computed over
/// that long at least, too; twice that at most while samples are prompt, in ns.
const SPAN_NS: u64 = 500_000_000;

/// How fast one cgroup changes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    last: Option<(u64, u64)>,
    /// Samples that stand a span apart, the older one first.
    spaced: [Option<(u64, u64)>; 2],
    near: bool,
    requested: bool,
}

// === impl Pace ===

impl Pace {
    /// Has it sampled soon: the kernel notified of a change.
    pub(super) fn request_sample(&mut self) {
        self.requested = true;
    }

    pub(super) fn record_sample(&mut self, sample: &Sample) {
        self.requested = false;
        let now = (sample.at_ns, sample.current);
        let [older, newer] = self.spaced;
        self.near = sample.limit.is_some_and(|limit| {
            let before = [older, self.last];
            let mut before = before.into_iter().flatten();
            before.any(|then| nears(then, sample, limit))
        });
        if newer.is_none_or(|(at_ns, _)| now.0.saturating_sub(at_ns) >= SPAN_NS) {
            self.spaced = [newer, Some(now)];
        }
        self.last = Some(now);
    }

    /// When it is due for another sample, in ns; `None`: with the next sweep.
    pub(super) fn due_ns(&self) -> Option<u64> {
        let due = |(at_ns, _): (u64, u64)| at_ns.saturating_add(APART_NS);
        (self.near || self.requested).then(|| self.last.map_or(0, due))
    }
}

/// It would be at its limit soon, if it went on like that. For one that is there already a sample is no use.
fn nears((then_ns, then): (u64, u64), now: &Sample, limit: u64) -> bool {
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

    fn at(at_ns: u64, current: u64) -> Sample {
        Sample {
            at_ns,
            current,
            working_set: current,
            limit: Some(1000),
            throttles: false,
            psi: None,
        }
    }

    fn after(samples: &[Sample]) -> Pace {
        let mut pace = Pace::default();
        for sample in samples {
            pace.record_sample(sample);
        }
        pace
    }

    #[test]
    fn growth_towards_the_limit_is_sampled_sooner() {
        let check =
            |samples: &[Sample], due| assert_eq!(after(samples).due_ns(), due, "{samples:?}");
        check(&[at(0, 100)], None);
        check(&[at(0, 100), at(SECOND, 200)], None);
        check(&[at(0, 100), at(SECOND, 250)], Some(SECOND + APART_NS));
        check(&[at(0, 100), at(SECOND, 250), at(2 * SECOND, 250)], None);
        check(&[at(0, 900), at(SECOND, 800)], None);
        check(&[at(0, 900), at(SECOND, 1000)], None);
        let unlimited = Sample {
            limit: None,
            ..at(SECOND, 999)
        };
        check(&[at(0, 100), unlimited], None);
    }

    /// As the sampler does: all once a second, and those that are due in between.
    #[test]
    fn growth_by_steps_is_not_lost_between_two_of_them() {
        for every_ms in [20, 60, 120, 250, 450] {
            let (mut pace, mut sweep_ns, mut now_ns, mut longest_ns) = (Pace::default(), 0, 0, 0);
            // It takes some seconds in any case.
            let step = every_ms / 7 + 1;
            let used = |ns: u64| 100 + ns / (every_ms * 1_000_000) * step;
            while used(now_ns) < 1000 {
                pace.record_sample(&at(now_ns, used(now_ns)));
                let next_ns = pace.due_ns().unwrap_or(u64::MAX);
                if sweep_ns <= now_ns {
                    sweep_ns += SECOND;
                }
                let then_ns = next_ns.min(sweep_ns);
                if used(now_ns) > 600 {
                    longest_ns = longest_ns.max(then_ns - now_ns);
                }
                now_ns = then_ns;
            }
            assert_eq!(longest_ns, APART_NS, "a step every {every_ms} ms");
        }
    }

    #[test]
    fn without_growth_only_sweeps_sample_after_a_second() {
        let mut pace = after(&[at(0, 100), at(SECOND, 400)]);
        let samples = (1..100).find(|n| {
            pace.record_sample(&at(SECOND + n * APART_NS, 400));
            pace.due_ns().is_none()
        });
        assert!(
            samples.is_some_and(|n| n * APART_NS <= 2 * SECOND),
            "{samples:?}"
        );
    }

    #[test]
    fn a_requested_sample_is_taken_once_and_not_too_soon() {
        let mut pace = Pace::default();
        pace.request_sample();
        assert_eq!(pace.due_ns(), Some(0));
        pace.record_sample(&at(SECOND, 100));
        assert_eq!(pace.due_ns(), None);
        pace.request_sample();
        assert_eq!(pace.due_ns(), Some(SECOND + APART_NS));
    }

    proptest! {
        /// Whatever is measured, in whatever order.
        #[test]
        fn samples_are_apart(samples: Vec<(u64, u64)>, requested: bool) {
            let samples: Vec<Sample> = samples.iter().map(|(ns, current)| at(*ns, *current)).collect();
            let mut pace = after(&samples);
            if requested {
                pace.request_sample();
            }
            if let (Some(next), Some(last)) = (pace.due_ns(), samples.last()) {
                prop_assert!(next >= last.at_ns.saturating_add(APART_NS));
            }
        }
    }
}
