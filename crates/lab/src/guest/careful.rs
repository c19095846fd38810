//! Two containers of one pod whose processes grow by steps and heed their signals: the one that is
//! warned lives, the other dies.

use anyhow::Result;
use serde_json::Value;

use super::pods::Group;
use super::process::{Pack, Plan, Process, start};
use super::scene::{Scene, Story};

const LIMIT: u64 = 64 << 20;
const CAREFUL: [&str; 6] = ["--mib", "200", "--gate", "--hold", "--careful", "50"];

/// The containers.
#[derive(Debug)]
pub(super) struct Twins {
    pub(super) warned: Group,
    unwarned: Group,
}

// === impl Twins ===

impl Twins {
    /// Of the pod number `n`, whose containers have that number and the next.
    pub(super) fn of_pod(n: u32) -> Result<Self> {
        let pod = Group::burstable()?.pod(n)?;
        Ok(Self {
            warned: pod.container(n)?.limit(LIMIT)?,
            unwarned: pod.container(n + 1)?.limit(LIMIT)?,
        })
    }

    /// The process of the one that is to be warned; it waits at its gate.
    pub(super) fn start_warned(&self) -> Result<Pack> {
        careful(&self.warned)
    }

    /// Whoever has warned the first one has ended.
    pub(super) fn unwarned_dies(&self, scene: &mut Scene) -> Result<Value> {
        let mut hogs = careful(&self.unwarned)?;
        let hog = hogs.first()?;
        let victims = [hog.facts()?];
        let story = Story {
            scope: "container",
            limit_bytes: Some(LIMIT),
            limit_cgroup: Some(&self.unwarned.path),
            outcome: "container-died",
            trigger: victims.first().map(|victim| victim.pid),
            victims: &victims,
        };
        scene.play(&story, || hog.go())
    }
}

/// Lets it go, and sees that it is warned twice, gives its memory back, and lives.
pub(super) fn lives_by_its_signals(hog: &mut Process) -> Result<()> {
    hog.go()?;
    for said in ["growing", "warned at", "let go at", "touched 0 MiB"] {
        hog.said(said)?;
    }
    hog.lives()
}

fn careful(group: &Group) -> Result<Pack> {
    start(&[Plan {
        group,
        args: &CAREFUL,
        uid: 1000,
        oom_score_adj: 0,
    }])
}
