//! Which processes are near their limits: one sweep at a time.

#[cfg(test)]
mod tests;

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use super::files::{Files, FilesError};
use memcg::{OomScores, ProcessHandle, ProcessIdentity, Processes, read_cgroup_pids};
use pressure::{CgroupKey, Crossing, FlightRecorder, LevelTracker, Sample, Thresholds, Variables};

/// Processes that are watched; of more, none.
const PROCESSES: usize = 1024;

/// Metrics are that old at most, and a process that could not be read is tried again then.
const STALE_NS: u64 = 1_000_000_000;

/// The processes that are watched.
pub(super) struct WatchedProcesses {
    thresholds: Thresholds,
    /// The one cgroup to watch; else those of the pod's processes.
    only: Option<Files>,
    retry_after: Duration,
    processes: Processes,
    by_pid: HashMap<u32, WatchedProcess>,
    /// As they were when they were read last, of each cgroup.
    limits: HashMap<CgroupKey, Option<u64>>,
    recorder: FlightRecorder,
    listed_ns: Option<u64>,
    /// The processes could not be listed last, as of a service whose cgroup goes with each restart.
    unlisted: bool,
    crowded: bool,
    fresh: bool,
}

/// One process, from sweep to sweep.
struct WatchedProcess {
    identity: ProcessIdentity,
    /// Its cgroup, and that cgroup's key.
    files: Option<(Files, CgroupKey)>,
    tracker: LevelTracker,
    command: String,
    last: Option<Variables>,
    to_limit: Option<Duration>,
}

/// One sample of a cgroup, for all of its processes.
struct SharedSample {
    sample: Sample,
    /// Its working set is read, which costs more than the rest.
    complete: bool,
    recorded: bool,
    to_limit: Option<Duration>,
}

/// A process has come to a level.
pub(super) struct ProcessCrossing {
    pub(super) crossing: Crossing,
    pub(super) scores: OomScores,
    pub(super) identity: ProcessIdentity,
    pub(super) process: ProcessHandle,
    pub(super) command: String,
}

/// A process in the metrics.
pub(super) struct ProcessMetrics {
    pub(super) pid: u32,
    pub(super) command: String,
    pub(super) variables: Variables,
    /// Until its cgroup's limit is reached at the present slope.
    pub(super) to_limit: Option<Duration>,
}

// === impl WatchedProcesses ===

impl WatchedProcesses {
    /// All processes of this PID namespace, or those of a cgroup.
    pub(super) fn new(
        thresholds: Thresholds,
        cgroup: Option<&Path>,
        retry_after: Duration,
    ) -> Result<Self, FilesError> {
        Ok(Self {
            thresholds,
            only: cgroup.map(Files::named).transpose()?,
            retry_after,
            processes: Processes::new("/proc"),
            by_pid: HashMap::new(),
            limits: HashMap::new(),
            recorder: FlightRecorder::default(),
            listed_ns: None,
            unlisted: false,
            crowded: false,
            fresh: false,
        })
    }

    /// Measures all. Gives the crossings, reminders included.
    pub(super) fn sweep(&mut self, now_ns: u64) -> Vec<ProcessCrossing> {
        let stale = self
            .listed_ns
            .is_none_or(|at| now_ns.saturating_sub(at) >= STALE_NS);
        if stale {
            self.listed_ns = Some(now_ns);
            self.limits.clear();
        }
        self.fresh = stale;
        self.list(stale);
        let with_working_set = self.thresholds.needs_working_set();
        let with_scores = stale || self.thresholds.needs_scores();
        let mut cgroups: HashMap<CgroupKey, SharedSample> = HashMap::new();
        let (mut crossings, mut replaced) = (Vec::new(), Vec::new());
        for (pid, watched) in &mut self.by_pid {
            let Some((files, key)) = &watched.files else {
                continue;
            };
            let shared = match cgroups.entry(key.clone()) {
                Entry::Occupied(shared) => shared.into_mut(),
                Entry::Vacant(unread) => {
                    let limit = self.limits.entry(key.clone());
                    let limit = *limit.or_insert_with(|| files.read_limit());
                    match files.sample(now_ns, limit) {
                        Some(sample) => unread.insert(SharedSample {
                            sample,
                            complete: false,
                            recorded: false,
                            to_limit: None,
                        }),
                        // The process is gone, and what it showed of the cgroup with it.
                        None => continue,
                    }
                }
            };
            if stale {
                shared.record(&self.recorder, key, files);
            } else if with_working_set {
                shared.add_working_set(files);
            }
            let read = |pid| self.processes.open(pid).ok()?.oom_scores();
            let before = watched.last.map(|last| last.scores);
            let scores = with_scores.then(|| read(*pid)).flatten().or(before);
            let variables = Variables {
                sample: shared.sample,
                scores: scores.unwrap_or_default(),
            };
            watched.last = Some(variables);
            watched.to_limit = shared.to_limit;
            let Some(mut crossing) = watched.tracker.update(&self.thresholds, &variables, None)
            else {
                continue;
            };
            let process = self.processes.open(*pid).ok();
            let is_same =
                |process: &ProcessHandle| process.identity().as_ref() == Some(&watched.identity);
            let Some(process) = process.filter(is_same) else {
                replaced.push(*pid);
                continue;
            };
            shared.record(&self.recorder, key, files);
            (crossing.sample, crossing.forecast) = (shared.sample, shared.to_limit);
            crossings.push(ProcessCrossing {
                crossing,
                scores: process.oom_scores().unwrap_or_default(),
                identity: watched.identity.clone(),
                process,
                command: watched.command.clone(),
            });
        }
        // Ended, or moved: a process that has the pid now is listed anew.
        for pid in replaced {
            self.by_pid.remove(&pid);
        }
        crossings
    }

    /// Nothing could be done about that: it is due again soon.
    pub(super) fn retry(&mut self, crossing: &ProcessCrossing) {
        if let Some(watched) = self.by_pid.get_mut(&crossing.identity.pid)
            && watched.identity == crossing.identity
        {
            watched
                .tracker
                .retry(&crossing.crossing, &self.thresholds, self.retry_after);
        }
    }

    /// The metrics of all, if the last sweep has read what they need.
    pub(super) fn fresh_metrics(&self) -> Option<impl Iterator<Item = ProcessMetrics>> {
        let all = self.by_pid.iter().filter_map(|(pid, watched)| {
            Some(ProcessMetrics {
                pid: *pid,
                command: watched.command.clone(),
                variables: watched.last?,
                to_limit: watched.to_limit,
            })
        });
        self.fresh.then_some(all)
    }

    /// Finds new processes, and forgets those that have gone.
    fn list(&mut self, stale: bool) {
        let pids = match &self.only {
            Some(files) => read_cgroup_pids(files.dir()),
            None => self.processes.pids(),
        };
        let cgroup = self.only.as_ref();
        let cgroup = cgroup.map(|files| tracing::field::display(files.dir().display()));
        let was_unlisted = std::mem::replace(&mut self.unlisted, pids.is_err());
        match &pids {
            Err(error) if !was_unlisted => {
                tracing::warn!(cgroup, %error, "the processes cannot be listed: none is watched until they can be");
            }
            Ok(_) if was_unlisted => {
                tracing::info!(cgroup, "the processes can be listed again, and are watched");
            }
            _ => {}
        }
        let mut pids = pids.unwrap_or_default();
        let own = std::process::id();
        pids.retain(|pid| is_watched(*pid, own, self.only.is_some()));
        if pids.len() > PROCESSES && !self.crowded {
            tracing::warn!(
                processes = pids.len(),
                "only {PROCESSES} processes are watched"
            );
        }
        self.crowded = pids.len() > PROCESSES;
        let pids: BTreeSet<u32> = pids.into_iter().take(PROCESSES).collect();
        self.by_pid.retain(|pid, _| pids.contains(pid));
        for pid in pids {
            let known = self.by_pid.get(&pid);
            // Identity and cgroup are read now and then, and before each signal.
            if known.is_some() && !stale {
                continue;
            }
            let process = self.processes.open(pid).ok();
            let found = process.and_then(|process| Some((process.identity()?, process)));
            let Some((identity, process)) = found else {
                self.by_pid.remove(&pid);
                continue;
            };
            let same = known.is_some_and(|known| known.identity == identity);
            if same && known.is_some_and(|known| known.files.is_some()) {
                continue;
            }
            let files = self.find_files(&identity);
            if files.is_none() && !same {
                tracing::debug!(
                    pid,
                    "its cgroup's memory cannot be read: SYS_PTRACE may be missing"
                );
            }
            let watched = WatchedProcess {
                files,
                identity,
                tracker: LevelTracker::default(),
                command: process.command(),
                last: None,
                to_limit: None,
            };
            self.by_pid.insert(pid, watched);
        }
    }

    fn find_files(&self, identity: &ProcessIdentity) -> Option<(Files, CgroupKey)> {
        let files = if let Some(files) = &self.only {
            files.clone()
        } else {
            let root = self.processes.root().join(identity.pid.to_string());
            Files::of_process(&root.join("root"), &identity.cgroup)?
        };
        let key = files.key()?;
        Some((files, key))
    }
}

// === impl SharedSample ===

impl SharedSample {
    fn add_working_set(&mut self, files: &Files) {
        if !self.complete {
            self.complete = true;
            self.sample.working_set = files.read_working_set(self.sample.current);
        }
    }

    /// The forecast is of the working set, as with the agent.
    fn record(&mut self, recorder: &FlightRecorder, key: &CgroupKey, files: &Files) {
        if self.recorded {
            return;
        }
        self.recorded = true;
        self.add_working_set(files);
        recorder.record(&[(key.clone(), self.sample)]);
        self.to_limit = recorder.forecast(key.path(), self.sample.at_ns);
    }
}

/// Not this process itself, and not the pod's first one, which is the runtime's: it holds the namespaces. A
/// cgroup of `--cgroup` has no such process.
fn is_watched(pid: u32, own: u32, is_named: bool) -> bool {
    pid != own && (pid != 1 || is_named)
}
