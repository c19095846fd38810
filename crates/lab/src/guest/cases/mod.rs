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

use anyhow::Result;
use serde_json::Value;

use super::scene::Scene;
pub use groups::LARGE_GROUP;

/// What a case is called, and what plays it: `{"expected": …, "reported": …}`.
pub(super) type Case = (&'static str, fn(&mut Scene) -> Result<Value>);

/// Every case, in the order they run.
pub(super) const CASES: [Case; 30] = [
    ("single_kill", |scene| kills::single_kill(scene, 1, None)),
    ("host_process", kills::host_process),
    ("child_kill", |scene| kills::child_kill(scene, 4, None)),
    ("group_kill", kills::group_kill),
    ("nested_group", groups::nested_group),
    ("large_group", groups::large_group),
    ("nested_first_process", |scene| {
        kills::child_kill(scene, 33, Some("--nested"))
    }),
    ("thread_kill", |scene| {
        kills::single_kill(scene, 2, Some("--thread"))
    }),
    ("leaderless_kill", |scene| {
        kills::single_kill(scene, 3, Some("--leaderless"))
    }),
    ("leaderless_bystander", |scene| {
        kills::pod_limit(scene, 11, Some("--leaderless"))
    }),
    ("already_exiting", kills::already_exiting),
    ("pod_limit", |scene| kills::pod_limit(scene, 6, None)),
    ("ancestor_limit", kills::ancestor_limit),
    ("counted_limit", kills::counted_limit),
    ("same_limit", limits::same_limit),
    ("sum_of_limits", limits::sum_of_limits),
    ("pod_level_limit", limits::pod_level_limit),
    ("volume_decides", limits::volume_decides),
    ("nested_limit", limits::nested_limit),
    ("all_pods_limit", limits::all_pods_limit),
    ("lowered_limit", limits::lowered_limit),
    ("node_bystander", limits::node_bystander),
    ("node_wide", kills::node_wide),
    ("sysrq", kills::sysrq),
    ("sidecar", sidecar::sidecar),
    ("warned", warned::warned),
    ("verdicts", growth::verdicts),
    ("sampled", sampled::sampled),
    ("unkillable", unkillable::unkillable),
    ("storm", storm::storm),
];

/// Their names.
pub fn names() -> Vec<&'static str> {
    CASES.iter().map(|(name, _)| *name).collect()
}

/// How many incidents the agent reports in all: `sampled` and `unkillable` have none, `verdicts` and `nested_group` two, `storm` many.
pub const INCIDENTS: usize = CASES.len() - 5 + 2 + 2 + storm::KILLS;
