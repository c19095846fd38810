//! A leak and a burst, which the agent should distinguish.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::expect::{between, samples};
use crate::guest::kill::{ExpectedKill, SLACK};
use crate::guest::pods::{Group, MIB};
use crate::guest::process::{Pack, Plan, start};
use crate::guest::scene::Scene;
use crate::wait::{self, HANG};

const LIMIT: u64 = 48 * MIB;

/// Some passes of the sampler.
const IDLE: Duration = Duration::from_secs(5);

/// What grows evenly is a leak, what idles and then takes all a burst: both at their container's own
/// limit.
pub(super) fn verdicts(scene: &mut Scene) -> Result<Value> {
    let pod = Group::burstable()?.pod(70)?;
    let mut idle = Victim::start(&pod, 70, &["--mib", "200", "--gate"])?;
    let idles = Instant::now();
    // 6 MiB a second, or less where there is more to do.
    let mut grows = Victim::start(&pod, 71, &["--mib", "200", "--gate", "--every-ms", "170"])?;
    let mut leak = grows.play(scene)?;
    expect_before(
        &mut leak,
        json!({
            "samples": samples(6, LIMIT - 2 * SLACK, LIMIT + SLACK),
            "slope_bytes_per_second": between(MIB, 8 * MIB),
            "half_to_limit_ms": between(3_000, 30_000),
            "verdict": "leak",
        }),
    )?;
    // The other has been sampled doing nothing by now.
    wait::until("its idling", HANG, || {
        (idles.elapsed() > IDLE).then_some(())
    })?;
    let mut burst = idle.play(scene)?;
    expect_before(
        &mut burst,
        json!({
            "samples": samples(5, LIMIT - 2 * SLACK, LIMIT + SLACK),
            "slope_bytes_per_second": between(10 * MIB, 1 << 40),
            "half_to_limit_ms": between(0, 3_500),
            "verdict": "burst",
        }),
    )?;
    let both = |name: &str| json!({"leak": leak.get(name), "burst": burst.get(name)});
    Ok(json!({"expected": both("expected"), "reported": both("reported")}))
}

/// A process in a container of its own, before it is killed.
struct Victim {
    container: Group,
    hog: Pack,
}

impl Victim {
    fn start(pod: &Group, n: u32, args: &[&str]) -> Result<Self> {
        let container = pod.container(n)?.limit(LIMIT)?;
        let hog = start(&[Plan::new(&container, args)])?;
        Ok(Self { container, hog })
    }

    fn play(&mut self, scene: &mut Scene) -> Result<Value> {
        let hog = self.hog.first()?;
        let victims = [hog.facts()?];
        let limit = ("container", LIMIT, self.container.path.as_str());
        scene.play(&ExpectedKill::at_limit(limit, &victims), || hog.open_gate())
    }
}

/// Fields that are expected of `before` beyond the usual.
fn expect_before(outcome: &mut Value, more: Value) -> Result<()> {
    let before = outcome.pointer_mut("/expected/before");
    let before = before.and_then(Value::as_object_mut).context("a before")?;
    let Value::Object(more) = more else {
        bail!("fields of before");
    };
    before.extend(more);
    Ok(())
}
