//! The cases: each has the kernel kill in another way.

mod limits;
mod outside;
mod plans;
mod pods;

use anyhow::Result;
use serde_json::Value;

use super::stage::Stage;

/// Every case, in the order they run.
pub const NAMES: [&str; 19] = [
    "limit_beside_unlimited",
    "one_limited_container",
    "systemd_names",
    "two_of_which_one_is_hungry",
    "pod_level_limit",
    "volume_of_one_container",
    "volume_of_two_containers",
    "native_sidecar",
    "init_container",
    "ephemeral_container",
    "executed_process",
    "child_alone",
    "child_with_its_group",
    "many_processes",
    "limit_lowered_below_usage",
    "swap_is_full_too",
    "no_limit_below_kubepods",
    "sandbox_of_another_runtime",
    "node_full_by_a_host_process",
];

/// Runs one case: `{"expected": …, "reported": …}`.
pub(super) fn run(name: &str, stage: &mut Stage) -> Result<Value> {
    match name {
        "limit_lowered_below_usage" => limits::limit_lowered_below_usage(stage),
        "sandbox_of_another_runtime" => outside::sandbox_of_another_runtime(stage),
        "node_full_by_a_host_process" => outside::node_full_by_a_host_process(stage),
        _ => pods::run(name, stage),
    }
}
