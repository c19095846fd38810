//! A container out of memory in which nobody may be killed: the kernel looks for a victim thousands of times a
//! second, and the agent tells it once.

use anyhow::Result;
use serde_json::{Value, json};

use super::pods::Group;
use super::process::{Plan, SOON, start};
use super::scene::Scene;
use crate::wait;

const LIMIT: u64 = 32 << 20;

/// So often the kernel has to have found nobody before the agent's lines are counted.
const TIMES: u64 = 100;

pub(super) fn unkillable(scene: &mut Scene) -> Result<Value> {
    let container = Group::burstable()?.pod(60)?.container(60)?.limit(LIMIT)?;
    let mut hogs = start(&[Plan {
        group: &container,
        args: &["--mib", "48", "--gate", "--hold"],
        uid: 0,
        oom_score_adj: -1000,
    }])?;
    let hog = hogs.first()?;
    let pid = hog.facts()?.pid;
    hog.go()?;
    let told = scene.without_victim(&container.path)?;
    let ooms = || {
        let text = std::fs::read_to_string(container.dir().join("memory.events")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("oom "))?;
        line.parse::<u64>().ok().filter(|ooms| *ooms >= TIMES)
    };
    wait::until("more of them", SOON, ooms)?;
    // Killed while it wants memory it would be a victim that is exiting already.
    container.set("memory.max", &(4 * LIMIT).to_string())?;
    hog.said("touched")?;
    let part = |name: &str| told.get(name).cloned().unwrap_or_default();
    let names = [
        "scope",
        "limit_bytes",
        "limit_cgroup",
        "outcome",
        "trigger",
        "victims",
        "degraded",
    ];
    let told: serde_json::Map<String, Value> = names
        .map(|name| (name.to_owned(), part(name)))
        .into_iter()
        .collect();
    Ok(json!({
        "expected": {
            "once": {
                "scope": "container",
                "limit_bytes": LIMIT,
                "limit_cgroup": container.path,
                "outcome": "no-killable-process",
                "trigger": {"pid": pid, "comm": "hog"},
                "victims": [],
                "degraded": [],
            },
        },
        "told": {"once": told},
    }))
}
