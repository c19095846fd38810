//! What the sampler reports of a container between two of its passes, which are a minute apart: by the
//! kernel's notifications alone, from the container's first moment to its last.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::expect::between;
use crate::guest::pods::{Group, MIB};
use crate::guest::process::{Plan, start};
use crate::guest::scene::Scene;
use crate::wait::{self, HANG};

/// What `memory.high` allows the hog, which wants more.
const HIGH: u64 = 24 * MIB;

/// An agent's series.
struct Series {
    admin: Admin,
    container: String,
}

pub(super) fn sampled(_: &mut Scene) -> Result<Value> {
    let mut agent = Scene::start_agent(&[&["--sample", "60s"][..], &Admin::LISTEN].concat())?;
    let admin = Admin::of_agent(&mut agent)?;
    // Its first pass is made, of a container that stays.
    let pod = Group::burstable()?.pod(50)?;
    let _stays = pod.container(50)?.limit(64 * MIB)?;
    let container = pod.container(51)?;
    let series = Series {
        admin,
        container: container.container.clone().context("a container")?,
    };
    series.until("its first pass", "oom_agent_watched_containers", |n| n == 1)?;
    let container = container.limit(128 * MIB)?;
    let made = series.until("a new container", &series.name("limit"), |_| true)?;
    let watched = series.get("oom_agent_watched_containers")?;
    let container = container.limit(96 * MIB)?;
    let lowered = series.until("a lower limit", &series.name("limit"), |limit| {
        limit != made
    })?;
    container.set("memory.high", HIGH)?;
    let mut hogs = start(&[Plan::new(&container, &["--mib", "32", "--gate", "--hold"])])?;
    let idle = series.get(&series.name("usage"))?;
    hogs.first()?.open_gate()?;
    let hit = series.until("a sample", &series.name("usage"), |usage| usage > HIGH / 2)?;
    drop(hogs);
    wait::until("the end of its cgroup", HANG, || {
        std::fs::remove_dir(container.dir()).ok()
    })?;
    let left = series.until("its end", "oom_agent_watched_containers", |n| n == 1)?;
    let passes = series.get("oom_agent_sampler_passes_total")?;
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

// === impl Series ===

impl Series {
    fn name(&self, figure: &str) -> String {
        let container = &self.container;
        format!(
            r#"oom_agent_container_memory_{figure}_bytes{{namespace="",pod="",container="{container}"}}"#
        )
    }

    fn until(&self, what: &str, name: &str, is: impl Fn(u64) -> bool) -> Result<u64> {
        let mut last = String::new();
        let value = wait::until(what, HANG, || match self.get(name) {
            Ok(value) if is(value) => Some(value),
            other => {
                last = format!("{other:?}");
                None
            }
        });
        value.with_context(|| format!("last: {last}"))
    }

    fn get(&self, name: &str) -> Result<u64> {
        let (_, text) = self.admin.get("/metrics")?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.with_context(|| format!("no {name}"))?;
        value.parse().with_context(|| format!("{name} is {value}"))
    }
}
