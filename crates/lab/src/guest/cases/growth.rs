//! A leak and a burst, which the agent should distinguish.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use crate::expect::{between, samples};
use crate::guest::kill::SLACK;
use crate::guest::pods::{Group, MIB};
use crate::guest::process::{Plan, start};
use crate::guest::scene::{Scene, expect};
use crate::wait::{self, HANG};

const LIMIT: u64 = 48 * MIB;

/// Some passes of the sampler.
const IDLE: Duration = Duration::from_secs(5);

/// What grows evenly is a leak, what idles and then takes all a burst: both at their container's own
/// limit.
pub(super) fn verdicts(scene: &mut Scene) -> Result<Value> {
    let pod = Group::burstable()?.pod(70)?;
    let container = |n| pod.container(n)?.limit(LIMIT);
    let (idles, grows) = (container(70)?, container(71)?);
    let mut idle = start(Plan::new(&idles, &["--mib", "200", "--gate"]))?;
    let started = Instant::now();
    // 6 MiB a second, or less where there is more to do.
    let args = ["--mib", "200", "--gate", "--every-ms", "170"];
    let mut grow = start(Plan::new(&grows, &args))?;
    let mut leak = scene.play_gated(&mut grow, ("container", LIMIT, &grows.path))?;
    let all = |least| samples(least, LIMIT - 2 * SLACK, LIMIT + SLACK);
    expect(
        &mut leak,
        &[
            ("/before/samples", all(6)),
            ("/before/slope_bytes_per_second", between(MIB, 8 * MIB)),
            ("/before/half_to_limit_ms", between(3_000, 30_000)),
            ("/before/verdict", json!("leak")),
        ],
    )?;
    // The other has been sampled doing nothing by now.
    wait::until("its idling", HANG, || {
        (started.elapsed() > IDLE).then_some(())
    })?;
    let mut burst = scene.play_gated(&mut idle, ("container", LIMIT, &idles.path))?;
    expect(
        &mut burst,
        &[
            ("/before/samples", all(5)),
            ("/before/slope_bytes_per_second", between(10 * MIB, 1 << 40)),
            ("/before/half_to_limit_ms", between(0, 3_500)),
            ("/before/verdict", json!("burst")),
        ],
    )?;
    let both = |name: &str| json!({"leak": leak.get(name), "burst": burst.get(name)});
    Ok(json!({"expected": both("expected"), "reported": both("reported")}))
}
