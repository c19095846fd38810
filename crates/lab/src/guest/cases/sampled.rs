//! What the sampler reports of a container between two of its passes, which are a minute apart: by the
//! kernel's notifications alone, from the container's first moment to its last.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::expect::between;
use crate::guest::pods::{Group, MIB};
use crate::guest::process::{Plan, start};
use crate::guest::scene::Scene;
use crate::scrape::whole;
use crate::wait::{self, HANG};

/// What `memory.high` allows the hog, which wants more.
const HIGH: u64 = 24 * MIB;

/// The name of a metric, and whether it is the container's.
type Series = (&'static str, bool);

const WATCHED: Series = ("oom_agent_watched_containers", false);
const PASSES: Series = ("oom_agent_sampler_passes_total", false);
const LIMIT: Series = ("oom_agent_container_memory_limit_bytes", true);
const USAGE: Series = ("oom_agent_container_memory_usage_bytes", true);

pub(super) fn sampled(_: &mut Scene) -> Result<Value> {
    let mut agent = Scene::start_agent(&[&["--sample", "60s"][..], &Admin::LISTEN].concat())?;
    let admin = Admin::of_agent(&mut agent)?;
    // Its first pass is made, of a container that stays.
    let pod = Group::burstable()?.pod(50)?;
    let _stays = pod.container(50)?.limit(64 * MIB)?;
    let container = pod.container(51)?;
    let id = container.container.clone().context("a container")?;
    let labels = [("container", id.as_str())];
    let get = |series: Series| {
        let labels = if series.1 { &labels[..] } else { &[] };
        let value = admin.scrape().ok()?.sum(series.0, labels);
        value.map(whole)
    };
    let until = |what: &str, series: Series, is: &dyn Fn(u64) -> bool| {
        let mut last = None;
        let value = wait::until(what, HANG, || {
            last = get(series);
            last.filter(|value| is(*value))
        });
        value.with_context(|| format!("last: {last:?}"))
    };
    until("its first pass", WATCHED, &|n| n == 1)?;
    let container = container.limit(128 * MIB)?;
    let made = until("a new container", LIMIT, &|_| true)?;
    let watched = get(WATCHED);
    let container = container.limit(96 * MIB)?;
    let lowered = until("a lower limit", LIMIT, &|limit| limit != made)?;
    container.set("memory.high", HIGH)?;
    let args = ["--mib", "32", "--gate", "--hold"];
    let mut hog = start(Plan::new(&container, &args))?;
    let idle = get(USAGE);
    hog.open_gate()?;
    let hit = until("a sample", USAGE, &|usage| usage > HIGH / 2)?;
    drop(hog);
    wait::until("the end of its cgroup", HANG, || {
        std::fs::remove_dir(container.dir()).ok()
    })?;
    let left = until("its end", WATCHED, &|n| n == 1)?;
    let passes = get(PASSES);
    Ok(json!({
        "expected": {
            "made": 128 * MIB,
            "watched": 2,
            "lowered": 96 * MIB,
            "idle": between(0, HIGH / 2),
            "hit": between(HIGH / 2, 32 * MIB),
            "left": 1,
            "passes": 1,
        },
        "reported": {
            "made": made,
            "watched": watched,
            "lowered": lowered,
            "idle": idle,
            "hit": hit,
            "left": left,
            "passes": passes,
        },
    }))
}
