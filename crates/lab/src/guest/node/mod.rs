//! What runs as the first process of a virtual machine that is a Kubernetes node but for the kubelet:
//! the cases of the tier `node`.
//!
//! containerd and runc are those people have, pods are made as a kubelet makes them, and the agent runs in
//! one of them with what `daemonset.yaml` gives it. The API server is a mock.

mod api;
mod cases;
mod container;
mod host;
mod kubelet;
mod manifest;
mod stage;

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use super::tell;
pub use cases::NAMES;
pub(super) use host::enter_disk;
use stage::Stage;

/// The bound on everything. Emulation is slow, and a full node slower.
const SOON: Duration = Duration::from_secs(30);

/// Runs every case.
pub(super) fn run() -> Result<()> {
    let mut stage = Stage::open()?;
    for name in NAMES {
        let begun = Instant::now();
        let told = cases::run(name, &mut stage)
            .unwrap_or_else(|error| json!({"error": format!("{error:#}")}));
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        tell(&json!({"case": name, "took_ms": took, "outcome": told}));
    }
    tell(&json!({"end": stage.close()}));
    Ok(())
}
