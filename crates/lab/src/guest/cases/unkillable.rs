//! A container out of memory without a killable process: the kernel looks for a victim thousands of times a
//! second, and the agent reports it once.

use anyhow::Result;
use serde_json::{Value, json};

use crate::guest::pods::{Group, MIB};
use crate::guest::process::{Plan, start};
use crate::guest::scene::{Scene, select};
use crate::wait::{self, HANG};

const LIMIT: u64 = 32 * MIB;

/// So often the kernel has to have found no victim before the agent's lines are counted.
const TIMES: u64 = 100;

pub(super) fn unkillable(scene: &mut Scene) -> Result<Value> {
    let container = Group::single_container(60)?.limit(LIMIT)?;
    let plan = Plan::new(&container, &["--mib", "48", "--gate", "--hold"]);
    let mut hog = start(plan.spared())?;
    let expected = json!({
        "scope": "container",
        "limit_bytes": LIMIT,
        "limit_cgroup": container.path,
        "outcome": "no-killable-process",
        "trigger": {"pid": hog.facts()?.pid, "comm": "hog"},
        "victims": [],
        "degraded": [],
    });
    hog.open_gate()?;
    let incident = scene.find_without_victim(&container.path)?;
    wait::until("more of them", HANG, || {
        let text = std::fs::read_to_string(container.dir().join("memory.events")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("oom "))?;
        line.parse::<u64>().ok().filter(|ooms| *ooms >= TIMES)
    })?;
    // Killed while it wants memory it would be a victim that is exiting already.
    container.set("memory.max", 4 * LIMIT)?;
    hog.wait_for_line("touched")?;
    let fields: Vec<&str> = expected
        .as_object()
        .into_iter()
        .flatten()
        .map(|(field, _)| field.as_str())
        .collect();
    Ok(json!({
        "expected": {"once": expected},
        "reported": {"once": select(&incident, &fields)},
    }))
}
