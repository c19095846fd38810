//! The near end, in the sampler's thread: who has come to a level, and whose pod to ask for.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use memcg::{Hierarchy, NodeRoot};
use tokio::sync::mpsc::Sender;

use super::{ahead, lock};
use crate::act::{Processes, worst};
use crate::metrics::WarningCounts;
use crate::pressure::threshold::Scores;
use crate::pressure::{Key, Pass, Recorder};
use crate::warn::{Ask, Containers, Crossed};

/// It is given each pass.
pub(in crate::pipeline) struct Watcher {
    pub(super) all: Arc<Mutex<Containers>>,
    pub(super) recorder: Recorder,
    pub(super) cgroups: Cgroups,
    pub(super) crossed: Sender<Crossed>,
    pub(super) ask: Sender<Ask>,
    pub(super) counts: WarningCounts,
}

/// Where the processes of a container are found.
#[derive(Clone)]
pub(super) struct Cgroups {
    root: PathBuf,
    node: NodeRoot,
    pub(super) processes: Processes,
}

// === impl Watcher ===

impl Watcher {
    /// Waits for nobody.
    pub(in crate::pipeline) fn take(&mut self, pass: &Pass<'_>) {
        let mut all = lock(&self.all);
        let seen = all.take(
            pass,
            |key| self.cgroups.scores(key),
            |key| ahead(&self.recorder, key),
        );
        self.counts.at_level(all.at_level());
        drop(all);
        let mut dropped: u64 = 0;
        for crossed in seen.crossed {
            if let Err(error) = self.crossed.try_send(crossed) {
                lock(&self.all).undone(&error.into_inner());
                dropped += 1;
            }
        }
        for ask in seen.ask {
            dropped += u64::from(self.ask.try_send(ask).is_err());
        }
        if dropped > 0 {
            self.counts.dropped.inc_by(dropped);
            tracing::warn!(dropped, "warnings find no room on their way");
        }
    }
}

// === impl Cgroups ===

impl Cgroups {
    /// Below where the memory controller's hierarchy is mounted.
    pub(super) fn new(hierarchy: &Hierarchy) -> Self {
        Self {
            root: hierarchy.path().to_owned(),
            node: hierarchy.node().clone(),
            // It numbers processes as this process's PID namespace does, and so does cgroup.procs.
            processes: Processes::new("/proc"),
        }
    }

    pub(super) fn dir(&self, key: &Key) -> PathBuf {
        self.node.cgroup_dir(&self.root, key.path())
    }

    /// Of whom the kernel would kill.
    fn scores(&self, key: &Key) -> Scores {
        let found = worst(&self.processes, &self.dir(key));
        found.map_or_else(Scores::default, |(_, scores)| scores)
    }
}
