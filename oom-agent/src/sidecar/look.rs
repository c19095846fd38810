//! Which processes are near their limit: one pass at a time.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::time::Duration;

use super::files::{Files, FilesError};
use super::listing::{Listing, Turn};
use super::pod;
use memcg::{OomScores, ProcessHandle, ProcessIdentity, Processes};
use pressure::{CgroupKey, FlightRecorder, Sample};
use pressure::{Crossing, LevelTracker, Thresholds, Variables};

/// Processes that are watched; of more, none.
const PROCESSES: usize = 1024;

/// Metrics are that old at most, and a process that could not be looked at is tried again then.
const STALE_NS: u64 = 1_000_000_000;

/// The processes beside this one.
pub(super) struct Beside {
    settings: Thresholds,
    /// The one cgroup to watch; else those of the pod's processes.
    only: Option<Files>,
    again: Duration,
    processes: Processes,
    known: HashMap<u32, Known>,
    /// As they were when they were read last, of each cgroup.
    limits: HashMap<CgroupKey, Option<u64>>,
    /// The last minute of each.
    recorder: FlightRecorder,
    looked_up_ns: Option<u64>,
    listing: Listing,
    crowded: bool,
    fresh: bool,
}

/// One process, from pass to pass.
struct Known {
    identity: ProcessIdentity,
    /// Its cgroup, and that cgroup's key.
    files: Option<(Files, CgroupKey)>,
    watch: LevelTracker,
    command: String,
    seen: Option<Variables>,
    to_limit: Option<Duration>,
}

/// One look at a cgroup, for all of its processes.
struct Looked {
    usage: Sample,
    /// Its working set is read, which costs more than the rest.
    complete: bool,
    recorded: bool,
    to_limit: Option<Duration>,
}

/// A process to do something about.
pub(super) struct Told {
    pub(super) crossing: Crossing,
    pub(super) scores: OomScores,
    pub(super) identity: ProcessIdentity,
    pub(super) held: ProcessHandle,
    pub(super) command: String,
}

/// A process as metrics show it.
pub(super) struct Shown {
    pub(super) pid: u32,
    pub(super) command: String,
    pub(super) figures: Variables,
    /// Until its cgroup's limit is reached at the present slope.
    pub(super) to_limit: Option<Duration>,
}

// === impl Beside ===

impl Beside {
    /// All processes of this PID namespace, or those of a cgroup. What nothing came of is due `again` so soon.
    pub(super) fn new(
        settings: Thresholds,
        cgroup: Option<&Path>,
        again: Duration,
    ) -> Result<Self, FilesError> {
        Ok(Self {
            settings,
            only: cgroup.map(Files::named).transpose()?,
            again,
            processes: Processes::new("/proc"),
            known: HashMap::new(),
            limits: HashMap::new(),
            recorder: FlightRecorder::default(),
            looked_up_ns: None,
            listing: Listing::default(),
            crowded: false,
            fresh: false,
        })
    }

    /// One pass: who has come to a level, or is to be reminded.
    pub(super) fn look(&mut self, now_ns: u64) -> Vec<Told> {
        let stale = self
            .looked_up_ns
            .is_none_or(|at| now_ns.saturating_sub(at) >= STALE_NS);
        if stale {
            self.looked_up_ns = Some(now_ns);
            self.limits.clear();
        }
        self.fresh = stale;
        self.list(stale);
        let with_working_set = self.settings.needs_working_set();
        let with_scores = stale || self.settings.needs_scores();
        let mut cgroups: HashMap<CgroupKey, Looked> = HashMap::new();
        let (mut told, mut others) = (Vec::new(), Vec::new());
        for (pid, known) in &mut self.known {
            let Some((files, key)) = &known.files else {
                continue;
            };
            let looked = match cgroups.entry(key.clone()) {
                Entry::Occupied(looked) => looked.into_mut(),
                Entry::Vacant(unread) => {
                    let limit = self.limits.entry(key.clone());
                    let limit = *limit.or_insert_with(|| files.read_limit());
                    match files.sample(now_ns, limit) {
                        Some(usage) => unread.insert(Looked::at(usage)),
                        // The process is gone, and what it showed of the cgroup with it.
                        None => continue,
                    }
                }
            };
            if stale {
                looked.record(&self.recorder, key, files);
            } else if with_working_set {
                looked.complete(files);
            }
            let read = |pid| self.processes.open(pid).ok()?.oom_scores();
            let before = known.seen.map(|seen| seen.scores);
            let scores = with_scores.then(|| read(*pid)).flatten().or(before);
            let figures = Variables {
                sample: looked.usage,
                scores: scores.unwrap_or_default(),
            };
            known.seen = Some(figures);
            known.to_limit = looked.to_limit;
            let Some(mut crossing) = known.watch.update(&self.settings, &figures, None) else {
                continue;
            };
            let held = self.processes.open(*pid).ok();
            let Some(held) = held.filter(|held| held.identity().as_ref() == Some(&known.identity))
            else {
                others.push(*pid);
                continue;
            };
            looked.record(&self.recorder, key, files);
            (crossing.sample, crossing.forecast) = (looked.usage, looked.to_limit);
            told.push(Told {
                crossing,
                scores: held.oom_scores().unwrap_or_default(),
                identity: known.identity.clone(),
                held,
                command: known.command.clone(),
            });
        }
        // Ended, or moved: whoever has the number now is looked at anew.
        for pid in others {
            self.known.remove(&pid);
        }
        told
    }

    /// Nothing came of that.
    pub(super) fn again(&mut self, told: &Told) {
        if let Some(known) = self.known.get_mut(&told.identity.pid)
            && known.identity == told.identity
        {
            known
                .watch
                .retry(&told.crossing, &self.settings, self.again);
        }
    }

    /// What the last pass has seen, if it has read all that metrics show.
    pub(super) fn seen(&self) -> Option<impl Iterator<Item = Shown>> {
        self.fresh.then(|| self.all())
    }

    fn all(&self) -> impl Iterator<Item = Shown> {
        self.known.iter().filter_map(|(pid, known)| {
            Some(Shown {
                pid: *pid,
                command: known.command.clone(),
                figures: known.seen?,
                to_limit: known.to_limit,
            })
        })
    }

    /// Finds who is there, and forgets who has gone.
    fn list(&mut self, stale: bool) {
        let pids = match &self.only {
            Some(files) => files.read_pids(),
            None => self.processes.pids(),
        };
        let cgroup = self.only.as_ref();
        let cgroup = cgroup.map(|files| tracing::field::display(files.dir().display()));
        match (self.listing.turn(pids.is_ok()), &pids) {
            (Some(Turn::Lost), Err(error)) => {
                tracing::warn!(cgroup, %error, "the processes cannot be listed: none is watched until they can be");
            }
            (Some(Turn::Back), _) => {
                tracing::info!(cgroup, "the processes can be listed again, and are watched");
            }
            _ => {}
        }
        let mut pids = pids.unwrap_or_default();
        let own = std::process::id();
        pids.retain(|pid| pod::may_be_told(*pid, own, self.only.is_some()));
        if pids.len() > PROCESSES && !self.crowded {
            tracing::warn!(
                processes = pids.len(),
                "only {PROCESSES} processes are watched"
            );
        }
        self.crowded = pids.len() > PROCESSES;
        pids.truncate(PROCESSES);
        self.known.retain(|pid, _| pids.contains(pid));
        for pid in pids {
            let known = self.known.get(&pid);
            // Who it is by now, and in which cgroup, is read now and then, and before anything is sent.
            if known.is_some() && !stale {
                continue;
            }
            let Ok(held) = self.processes.open(pid) else {
                self.known.remove(&pid);
                continue;
            };
            let Some(identity) = held.identity() else {
                self.known.remove(&pid);
                continue;
            };
            let same = known.is_some_and(|known| known.identity == identity);
            if same && known.is_some_and(|known| known.files.is_some()) {
                continue;
            }
            let files = self.files(&identity);
            if files.is_none() && !same {
                tracing::debug!(
                    pid,
                    "its cgroup's memory cannot be read: SYS_PTRACE may be missing"
                );
            }
            let known = Known {
                files,
                identity,
                watch: LevelTracker::default(),
                command: held.command(),
                seen: None,
                to_limit: None,
            };
            self.known.insert(pid, known);
        }
    }

    fn files(&self, identity: &ProcessIdentity) -> Option<(Files, CgroupKey)> {
        let files = if let Some(files) = &self.only {
            files.clone()
        } else {
            let root = self.processes.root().join(identity.pid.to_string());
            Files::seen_by(&root.join("root"), &identity.cgroup)?
        };
        let key = files.key()?;
        Some((files, key))
    }
}

// === impl Looked ===

impl Looked {
    fn at(usage: Sample) -> Self {
        Self {
            usage,
            complete: false,
            recorded: false,
            to_limit: None,
        }
    }

    fn complete(&mut self, files: &Files) {
        if !self.complete {
            self.complete = true;
            self.usage.working_set = files.read_working_set(self.usage.current);
        }
    }

    /// Where it leads. As with the agent, that is the working set's way.
    fn record(&mut self, recorder: &FlightRecorder, key: &CgroupKey, files: &Files) {
        if self.recorded {
            return;
        }
        self.recorded = true;
        self.complete(files);
        recorder.record(&[(key.clone(), self.usage)]);
        self.to_limit = recorder.forecast(key.path(), self.usage.at_ns);
    }
}
