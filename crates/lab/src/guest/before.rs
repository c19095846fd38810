//! What the agent should tell of the minute before a kill; a leak and a burst that it should know
//! for what they are.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::pods::{Group, ROOT};
use super::process::{Pack, Plan, SOON, start};
use super::scene::{SLACK, Scene, Story};
use crate::expect::{between, one_of, samples, whole};
use crate::wait;

const MIB: u64 = 1 << 20;

/// Of those that are judged.
const LIMIT: u64 = 48 * MIB;

/// Some passes of the sampler.
const IDLE: Duration = Duration::from_secs(5);

/// `before`: of the nearest container with a limit of its own, from the cgroup whose limit it was on
/// and then from the victim's. A process has been in it, for a moment at least, before it ate.
pub(super) fn expected(story: &Story<'_>) -> Result<Value> {
    let victim = story.victims.first();
    let victims = victim.and_then(|victim| victim.told.get("cgroup")?.as_str());
    let is_container = |path: &&str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        // A bare id or, by systemd, `cri-containerd-ID.scope`.
        name.trim_end_matches(".scope")
            .rsplit('-')
            .next()
            .is_some_and(|id| id.len() == 64)
    };
    let all = story.limit_cgroup.into_iter().chain(victims);
    for path in all.filter(is_container) {
        let Some(limit) = lowest(path)? else { continue };
        let full = story.limit_cgroup == Some(path);
        let least = if full {
            limit.saturating_sub(2 * SLACK)
        } else {
            1
        };
        return Ok(json!({
            "cgroup": path,
            "limit_bytes": limit,
            "samples": samples(2, least, limit.saturating_add(SLACK)),
            // Samples of one millisecond, or a last one that is no rise, have no slope.
            "slope_bytes_per_second": one_of(&[Value::Null, whole()]),
            "half_to_limit_ms": one_of(&[Value::Null, between(0, 60_000)]),
            "verdict": one_of(&["leak", "burst", "at-the-limit", "unknown"].map(Value::from)),
        }));
    }
    Ok(Value::Null)
}

/// The lowest limit on the path up, if it has one itself.
fn lowest(path: &str) -> Result<Option<u64>> {
    let limit = |path: &str| {
        let file = format!("{ROOT}{path}/memory.max");
        let text = fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
        anyhow::Ok(text.trim().parse::<u64>().ok())
    };
    let Some(mut lowest) = limit(path)? else {
        return Ok(None);
    };
    let mut above = path;
    while let Some((parent, _)) = above.rsplit_once('/').filter(|(up, _)| !up.is_empty()) {
        lowest = limit(parent)?.map_or(lowest, |limit| limit.min(lowest));
        above = parent;
    }
    Ok(Some(lowest))
}

/// What grows evenly is a leak, what idles and then takes all a burst: both at their container's own
/// limit.
pub(super) fn verdicts(scene: &mut Scene) -> Result<Value> {
    let pod = Group::burstable()?.pod(70)?;
    let mut idle = Victim::start(&pod, 70, &["--mib", "200", "--gate"])?;
    let idles = Instant::now();
    // 6 MiB a second, or less where there is more to do.
    let mut grows = Victim::start(&pod, 71, &["--mib", "200", "--gate", "--every-ms", "170"])?;
    let mut leak = grows.play(scene)?;
    expect(
        &mut leak,
        json!({
            "samples": samples(6, LIMIT - 2 * SLACK, LIMIT + SLACK),
            "slope_bytes_per_second": between(MIB, 8 * MIB),
            "half_to_limit_ms": between(3_000, 30_000),
            "verdict": "leak",
        }),
    )?;
    // The other has been seen doing nothing by now.
    wait::until("its idling", SOON, || {
        (idles.elapsed() > IDLE).then_some(())
    })?;
    let mut burst = idle.play(scene)?;
    expect(
        &mut burst,
        json!({
            "samples": samples(5, LIMIT - 2 * SLACK, LIMIT + SLACK),
            "slope_bytes_per_second": between(10 * MIB, 1 << 40),
            "half_to_limit_ms": between(0, 3_500),
            "verdict": "burst",
        }),
    )?;
    let both = |name: &str| json!({"leak": leak.get(name), "burst": burst.get(name)});
    Ok(json!({"expected": both("expected"), "told": both("told")}))
}

/// A process in a container of its own, before it is killed.
struct Victim {
    container: Group,
    hog: Pack,
}

impl Victim {
    fn start(pod: &Group, n: u32, args: &[&str]) -> Result<Self> {
        let container = pod.container(n)?.limit(LIMIT)?;
        let hog = start(&[Plan {
            group: &container,
            args,
            uid: 0,
            oom_score_adj: 0,
        }])?;
        Ok(Self { container, hog })
    }

    fn play(&mut self, scene: &mut Scene) -> Result<Value> {
        let hog = self.hog.first()?;
        let victims = [hog.facts()?];
        let story = Story {
            scope: "container",
            limit_bytes: Some(LIMIT),
            limit_cgroup: Some(&self.container.path),
            outcome: "container-died",
            trigger: victims.first().map(|victim| victim.pid),
            victims: &victims,
        };
        scene.play(&story, || hog.go())
    }
}

/// More than is expected of every `before`.
fn expect(told: &mut Value, more: Value) -> Result<()> {
    let before = told.pointer_mut("/expected/before");
    let before = before.and_then(Value::as_object_mut).context("a before")?;
    let Value::Object(more) = more else {
        anyhow::bail!("fields of before");
    };
    before.extend(more);
    Ok(())
}
