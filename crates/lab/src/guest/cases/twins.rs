//! Two containers of one pod whose processes grow by steps and act on their signals: the one that is
//! warned lives, the other dies.

use anyhow::Result;
use serde_json::Value;

use crate::guest::pods::{Group, MIB};
use crate::guest::process::{Plan, Process, start};
use crate::guest::scene::Scene;

const LIMIT: u64 = 64 * MIB;
const CAREFUL: [&str; 6] = ["--mib", "200", "--gate", "--hold", "--careful", "50"];

/// The containers.
#[derive(Debug)]
pub(super) struct Twins {
    pub(super) warned: Group,
    unwarned: Group,
}

// === impl Twins ===

impl Twins {
    /// In pod number `n`; the containers have that number and the next.
    pub(super) fn create(n: u32) -> Result<Self> {
        let pod = Group::burstable()?.pod(n)?;
        Ok(Self {
            warned: pod.container(n)?.limit(LIMIT)?,
            unwarned: pod.container(n + 1)?.limit(LIMIT)?,
        })
    }

    /// The process of the one that is to be warned; it waits at its gate.
    pub(super) fn start_warned(&self) -> Result<Process> {
        start(careful(&self.warned))
    }

    /// Nothing warns the other one any more.
    pub(super) fn kill_unwarned(&self, scene: &mut Scene) -> Result<Value> {
        let limit = ("container", LIMIT, self.unwarned.path.as_str());
        scene.play_filling(careful(&self.unwarned), limit)
    }
}

/// Lets it go, and sees that it is warned twice, gives its memory back, and lives.
pub(super) fn check_it_acts_on_signals(hog: &mut Process) -> Result<()> {
    hog.open_gate()?;
    for line in ["growing", "warned at", "let go at", "touched 0 MiB"] {
        hog.wait_for_line(line)?;
    }
    hog.ensure_alive()
}

fn careful(group: &Group) -> Plan<'_> {
    Plan {
        uid: 1000,
        ..Plan::new(group, &CAREFUL)
    }
}
