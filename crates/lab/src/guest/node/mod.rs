//! What runs as the first process of a virtual machine that is a Kubernetes node but for the kubelet:
//! the cases of the tier `node`.
//!
//! containerd and runc are those people have, pods are made as a kubelet makes them, and the agent runs in
//! one of them with what `daemonset.yaml` gives it. The API server is a mock.

mod api;
mod cases;
mod container;
mod event;
mod host;
mod kubelet;
mod manifest;
mod stage;

use anyhow::Result;
use serde_json::json;

use super::outcome;
pub use cases::NAMES;
pub(super) use host::enter_disk;
use stage::Stage;

/// Runs every case.
pub(super) fn run() -> Result<()> {
    let mut stage = Stage::open()?;
    for name in NAMES {
        outcome::run_case(name, || cases::run(name, &mut stage));
    }
    outcome::write(&json!({"end": stage.close()}));
    Ok(())
}
