//! Memory that behaves in a known way, as a sampler sees it: the generators of the confusion table.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "made-up figures"
)]

use proptest::prelude::*;

use super::Point;
use crate::history::GrowthPattern;

/// The limit of every trace.
pub(super) const LIMIT: u64 = 256 << 20;

/// One kind of behaviour.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) pattern: GrowthPattern,
    pub(super) trace: BoxedStrategy<Vec<Point>>,
}

/// When it is sampled.
#[derive(Clone, Copy, Debug)]
struct Sampler {
    seed: u64,
    /// Seconds from the start until the first sample.
    phase: f64,
    /// In parts of the limit.
    noise: f64,
}

pub(super) fn kinds() -> Vec<Kind> {
    let kind = |name, pattern, trace| Kind {
        name,
        pattern,
        trace,
    };
    vec![
        kind(
            "leak, even, 8 s to 10 min",
            GrowthPattern::Leak,
            even_leak(),
        ),
        kind("leak by 4 to 20 steps", GrowthPattern::Leak, steps()),
        kind(
            "leak after idling",
            GrowthPattern::Leak,
            leak_after_idling(),
        ),
        kind(
            "leak over hours, its last minute",
            GrowthPattern::Leak,
            slow_leak(),
        ),
        kind(
            "saw-tooth whose bottom grows",
            GrowthPattern::Leak,
            collector_leak(),
        ),
        kind(
            "burst within 3 s after idling",
            GrowthPattern::Burst,
            burst(),
        ),
        kind(
            "burst on top of slow growth",
            GrowthPattern::Burst,
            burst_on_growth(),
        ),
        kind(
            "container that lives for 3 s",
            GrowthPattern::Burst,
            short_lived(),
        ),
        kind(
            "saw-tooth, then a burst",
            GrowthPattern::Burst,
            collector_burst(),
        ),
        kind(
            "saw-tooth up to the limit",
            GrowthPattern::AtTheLimit,
            collector(),
        ),
        kind("flat at the limit", GrowthPattern::AtTheLimit, flat()),
        kind(
            "burst, then long at the limit",
            GrowthPattern::AtTheLimit,
            stays(),
        ),
        kind(
            "flat elsewhere, killed for the node",
            GrowthPattern::Unknown,
            elsewhere(),
        ),
    ]
}

fn sampler(noise: f64) -> impl Strategy<Value = Sampler> {
    (any::<u64>(), 0.01..1.0, 0.0..=noise).prop_map(|(seed, phase, noise)| Sampler {
        seed,
        phase,
        noise,
    })
}

// === impl Sampler ===

impl Sampler {
    /// `level` is the part of the limit in use at a second of a life that ends at `end`.
    fn see(self, end: f64, at_end: f64, level: impl Fn(f64) -> f64) -> Vec<Point> {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let sample = |second: f64, part: f64| Point {
            at_ms: (second * 1000.0) as u64,
            bytes: (part.clamp(0.001, 1.0) * LIMIT as f64) as u64,
        };
        let mut samples = Vec::new();
        let mut second = self.phase + (end - 60.0).max(0.0).floor();
        while second < end - 0.005 {
            let noise = self.noise * (2.0 * random.f64() - 1.0);
            samples.push(sample(second, level(second) + noise));
            second += 1.0 + 0.05 * (random.f64() - 0.5);
        }
        samples.push(sample(end, at_end));
        samples
    }
}

/// From `base` to the limit in a straight line.
fn line(base: f64, from: f64, to: f64) -> impl Fn(f64) -> f64 {
    move |second| base + (1.0 - base) * ((second - from) / (to - from)).clamp(0.0, 1.0)
}

fn even_leak() -> BoxedStrategy<Vec<Point>> {
    (sampler(0.01), 0.02..0.4, 2.08_f64..6.4)
        .prop_map(|(sampler, base, e)| sampler.see(e.exp(), 1.0, line(base, 0.0, e.exp())))
        .boxed()
}

fn steps() -> BoxedStrategy<Vec<Point>> {
    (sampler(0.01), 4_u32..=20, 0.5..10.0, 0.02..0.2)
        .prop_map(|(sampler, steps, period, base): (Sampler, u32, f64, f64)| {
            let steps = f64::from(steps);
            let period = period.max(8.0 / steps);
            let level = move |second: f64| base + (1.0 - base) * (second / period).floor() / steps;
            sampler.see(period * steps, 1.0, level)
        })
        .boxed()
}

fn leak_after_idling() -> BoxedStrategy<Vec<Point>> {
    (sampler(0.01), 0.05..0.4, 10.0..50.0, 8.0..30.0)
        .prop_map(|(sampler, base, idle, time)| {
            sampler.see(idle + time, 1.0, line(base, idle, idle + time))
        })
        .boxed()
}

fn slow_leak() -> BoxedStrategy<Vec<Point>> {
    (sampler(0.0005), 0.004..0.03)
        .prop_map(|(sampler, growth)| {
            sampler.see(300.0, 1.0, move |s| 1.0 - growth * (300.0 - s) / 60.0)
        })
        .boxed()
}

/// Rises by `amplitude` in each period, and falls at once.
fn teeth(period: f64, amplitude: f64) -> impl Fn(f64) -> f64 {
    move |second| amplitude * (second / period).fract()
}

fn collector_leak() -> BoxedStrategy<Vec<Point>> {
    (sampler(0.01), 0.05..0.2, 0.15..0.3, 3.0..10.0, 40.0..120.0)
        .prop_map(|(sampler, base, amplitude, period, time)| {
            let teeth = teeth(period, amplitude);
            let level = move |second: f64| base + (1.0 - base) * second / time + teeth(second);
            let hit = (0..100_000)
                .map(|n| f64::from(n) / 100.0)
                .find(|s| level(*s) >= 1.0);
            sampler.see(hit.unwrap_or(time), 1.0, level)
        })
        .boxed()
}

fn burst() -> BoxedStrategy<Vec<Point>> {
    (sampler(0.01), 0.02..0.7, 5.0..100.0, 0.1..3.0)
        .prop_map(|(sampler, base, idle, time)| {
            sampler.see(idle + time, 1.0, line(base, idle, idle + time))
        })
        .boxed()
}

fn burst_on_growth() -> BoxedStrategy<Vec<Point>> {
    (sampler(0.01), 0.05..0.3, 0.1..0.3, 20.0..60.0, 0.1..3.0)
        .prop_map(|(sampler, base, growth, slow, time)| {
            let top = line(base + growth, slow, slow + time);
            let level = move |second: f64| {
                if second < slow {
                    base + growth * second / slow
                } else {
                    top(second)
                }
            };
            sampler.see(slow + time, 1.0, level)
        })
        .boxed()
}

fn short_lived() -> BoxedStrategy<Vec<Point>> {
    (sampler(0.0), 1.2..3.0)
        .prop_map(|(sampler, time)| sampler.see(time, 1.0, line(0.0, 0.0, time)))
        .boxed()
}

fn collector_burst() -> BoxedStrategy<Vec<Point>> {
    (
        sampler(0.01),
        0.2..0.4,
        0.15..0.3,
        4.0..15.0,
        20.0..60.0,
        0.1..3.0,
    )
        .prop_map(|(sampler, base, amplitude, period, calm, time)| {
            let teeth = teeth(period, amplitude);
            let from = base + teeth(calm);
            let top = line(from, calm, calm + time);
            let level = move |second: f64| {
                if second < calm {
                    base + teeth(second)
                } else {
                    top(second)
                }
            };
            sampler.see(calm + time, 1.0, level)
        })
        .boxed()
}

fn collector() -> BoxedStrategy<Vec<Point>> {
    (sampler(0.01), 0.2..0.6, 0.85..0.99, 4.0..15.0, 3_u32..8)
        .prop_map(|(sampler, base, top, period, count)| {
            let whole = f64::from(count) * period;
            let rate = (top - base) / period;
            let teeth = teeth(period, top - base);
            // The last one is not collected in time.
            let level = move |second: f64| {
                if second < whole {
                    base + teeth(second)
                } else {
                    base + rate * (second - whole)
                }
            };
            sampler.see(whole + (1.0 - base) / rate, 1.0, level)
        })
        .boxed()
}

fn flat() -> BoxedStrategy<Vec<Point>> {
    (sampler(0.02), 0.93..0.99, 12.0..100.0, 0.5..5.0)
        .prop_map(|(sampler, base, time, period): (_, f64, f64, f64)| {
            sampler.see(time, 1.0, move |s| base + 0.01 * (s / period).sin())
        })
        .boxed()
}

fn stays() -> BoxedStrategy<Vec<Point>> {
    (sampler(0.01), 0.1..0.6, 0.5..3.0, 5.0..20.0, 25.0..50.0)
        .prop_map(|(sampler, base, time, idle, stay)| {
            let rise = line(base, idle, idle + time);
            sampler.see(idle + time + stay, 1.0, move |s| rise(s) - 0.02)
        })
        .boxed()
}

fn elsewhere() -> BoxedStrategy<Vec<Point>> {
    (sampler(0.02), 0.2..0.8, 3.0..100.0)
        .prop_map(|(sampler, base, time)| sampler.see(time, base, move |_| base))
        .boxed()
}
