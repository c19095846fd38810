use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use memcg::{OomScores, Processes};
use service::clock;

use crate::act::read_worst_scores;
use crate::warn::Containers;
use pressure::{CgroupKey, FlightRecorder, Source};

/// The containers, with what the thread of the sampler and tokio's need of them. A clone is the same.
#[derive(Clone)]
pub(super) struct SharedContainers {
    containers: Arc<Mutex<Containers>>,
    recorder: FlightRecorder,
    source: Source,
    pub(super) processes: Processes,
}

// === impl SharedContainers ===

impl SharedContainers {
    pub(super) fn new(containers: Containers, recorder: FlightRecorder, source: Source) -> Self {
        Self {
            containers: Arc::new(Mutex::new(containers)),
            recorder,
            source,
            // It numbers processes as this process's PID namespace does, and so does cgroup.procs.
            processes: Processes::new("/proc"),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Containers> {
        self.containers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn forecast(&self, key: &CgroupKey) -> Option<Duration> {
        self.recorder.forecast(key.path(), clock::monotonic_ns())
    }

    pub(super) fn dir(&self, key: &CgroupKey) -> PathBuf {
        self.source.dir(key.path())
    }

    /// Of the process that the kernel would kill first.
    pub(super) fn read_scores(&self, key: &CgroupKey) -> OomScores {
        read_worst_scores(&self.processes, &self.dir(key)).unwrap_or_default()
    }
}
