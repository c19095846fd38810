//! The cases: each has the kernel kill in another way.

mod first_process;
mod limits;
mod outside;
mod processes;

use anyhow::Result;
use serde_json::Value;

use super::stage::{Note, Stage};

const MIB: u64 = 1 << 20;

/// Of most containers.
const LIMIT: u64 = 48 * MIB;

/// More than there is.
const EATS: &str = "--mib 4096";

const IDLES: &str = "exec sleep 1000";

/// Of container `main`, whose first process is killed at its own limit.
const DIED: Note<'_> = Note {
    on: "",
    field_path: Some("spec.containers{main}"),
    reason: "OOMKilled",
    first: &["main", "hog", "48 MiB"],
    says: &[],
    next: "raise main's resources.limits.memory above 48 MiB",
    volumes: false,
    chars: 400,
};

/// Of a process that is killed while the container's first one lives on.
const CHILD_DIED: Note<'_> = Note {
    reason: "ProcessOOMKilled",
    ..DIED
};

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

/// Runs one case: `{"expected": …, "told": …}`.
pub(super) fn run(name: &str, stage: &mut Stage) -> Result<Value> {
    match name {
        "executed_process" => processes::executed_process(stage),
        "child_alone" => processes::child(stage, true),
        "child_with_its_group" => processes::child(stage, false),
        "many_processes" => processes::many_processes(stage),
        "limit_lowered_below_usage" => limits::limit_lowered_below_usage(stage),
        "swap_is_full_too" => limits::swap_is_full_too(stage),
        "sandbox_of_another_runtime" => outside::sandbox_of_another_runtime(stage),
        "node_full_by_a_host_process" => outside::node_full_by_a_host_process(stage),
        _ => first_process::run(name, stage),
    }
}
