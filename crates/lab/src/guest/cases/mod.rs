//! The cases: each has the kernel kill in another way.

mod groups;
mod growth;
mod kills;
mod limits;
mod runtime;
mod sampled;
mod sidecar;
mod storm;
mod twins;
mod unkillable;
mod warned;

use anyhow::{Result, bail};
use serde_json::Value;

use super::scene::Scene;
pub use groups::LARGE_GROUP;

/// Every case, in the order they run.
pub const NAMES: [&str; 30] = [
    "single_kill",
    "host_process",
    "child_kill",
    "group_kill",
    "nested_group",
    "large_group",
    "nested_first_process",
    "thread_kill",
    "leaderless_kill",
    "leaderless_bystander",
    "already_exiting",
    "pod_limit",
    "ancestor_limit",
    "counted_limit",
    "same_limit",
    "sum_of_limits",
    "pod_level_limit",
    "volume_decides",
    "nested_limit",
    "all_pods_limit",
    "lowered_limit",
    "node_bystander",
    "node_wide",
    "sysrq",
    "sidecar",
    "warned",
    "verdicts",
    "sampled",
    "unkillable",
    "storm",
];

/// How many incidents the agent reports in all: `sampled` and `unkillable` have none, `verdicts` and `nested_group` two, `storm` many.
pub const INCIDENTS: usize = NAMES.len() - 5 + 2 + 2 + storm::KILLS;

/// Runs one case: `{"expected": …, "reported": …}`.
pub(super) fn run(name: &str, scene: &mut Scene) -> Result<Value> {
    match name {
        "single_kill" => kills::single_kill(scene, &["--mib", "200", "--gate"], 1),
        "host_process" => kills::host_process(scene),
        "child_kill" => kills::child_kill(scene),
        "group_kill" => kills::group_kill(scene),
        "nested_group" => groups::nested_group(scene),
        "large_group" => groups::large_group(scene),
        "nested_first_process" => groups::nested_first_process(scene),
        "thread_kill" => kills::single_kill(scene, &["--mib", "200", "--gate", "--thread"], 2),
        "leaderless_kill" => {
            kills::single_kill(scene, &["--mib", "200", "--gate", "--leaderless"], 3)
        }
        "leaderless_bystander" => {
            let leaderless = ["--mib", "50", "--gate", "--hold", "--leaderless"];
            kills::pod_limit(scene, &leaderless, 11)
        }
        "already_exiting" => kills::already_exiting(scene),
        "pod_limit" => kills::pod_limit(scene, &["--mib", "50", "--gate", "--hold"], 6),
        "ancestor_limit" => kills::ancestor_limit(scene),
        "counted_limit" => kills::counted_limit(scene),
        "same_limit" => limits::same_limit(scene),
        "sum_of_limits" => limits::sum_of_limits(scene),
        "pod_level_limit" => limits::pod_level_limit(scene),
        "volume_decides" => limits::volume_decides(scene),
        "nested_limit" => limits::nested_limit(scene),
        "all_pods_limit" => limits::all_pods_limit(scene),
        "lowered_limit" => limits::lowered_limit(scene),
        "node_bystander" => limits::node_bystander(scene),
        "node_wide" => kills::node_wide(scene),
        "sysrq" => kills::sysrq(scene),
        "sidecar" => sidecar::sidecar(scene),
        "warned" => warned::warned(scene),
        "verdicts" => growth::verdicts(scene),
        "sampled" => sampled::sampled(scene),
        "unkillable" => unkillable::unkillable(scene),
        "storm" => storm::storm(scene),
        _ => bail!("no case is called {name}"),
    }
}
