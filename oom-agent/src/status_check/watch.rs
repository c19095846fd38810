//! Which containers are looked at, when, and what is remembered of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::decide::{self, Age, Decision, Kill};
use super::{Judgement, Mismatch, MismatchKind, State, Status, Stored, UndecidedReason};
use crate::incident::{Incident, Outcome, Pod, Victim};

/// When a status is asked for after a kill, and what it is good for then. A container that lost a child may
/// end of it within the first ten seconds.
const LOOKS: [(Duration, Age); 4] = [
    (Duration::from_secs(2), Age::Fresh),
    (Duration::from_secs(10), Age::Settling),
    // Lest an end is forgotten that a container has which ends again and again.
    (Duration::from_secs(30), Age::Settling),
    (Duration::from_mins(1), Age::Settled),
];

/// Kills whose containers are to be looked at, one for each pod.
const CHECKS: usize = 256;

/// Containers of one incident, in one pod.
const CONTAINERS: usize = 16;

/// Containers that are remembered.
const REMEMBERED: usize = 1024;

/// What is to be looked at, and what was.
#[derive(Debug)]
pub struct Watch {
    checks: VecDeque<Check>,
    struck: Recent,
    told: Recent,
    /// All kills since then are known.
    since: Timestamp,
}

/// The containers of one pod, after one incident.
#[derive(Debug)]
pub struct Check {
    incident: Arc<Incident>,
    pod_uid: Option<String>,
    /// Those that were struck and are not decided on.
    open: Vec<String>,
    /// Those that were not struck, and were called OOM-killed at the first look.
    suspects: Vec<String>,
    /// How those of `open` have ended, as far as that was seen: runtime and kubelet forget it with the next end.
    ended: Vec<Status>,
    born: Instant,
    /// Which of [`LOOKS`] is next.
    look: usize,
}

/// Ids of containers, and when each came; the oldest goes.
#[derive(Debug, Default)]
struct Recent(VecDeque<(String, Timestamp)>);

// === impl Watch ===

impl Watch {
    /// `since`: when the first kill could be seen.
    pub fn new(since: Timestamp) -> Self {
        Self {
            checks: VecDeque::new(),
            struck: Recent::default(),
            told: Recent::default(),
            since,
        }
    }

    /// Remembers a kill, and when to look at its containers. Gives how many find no room.
    pub fn take(&mut self, incident: &Arc<Incident>, now: Instant) -> u64 {
        let mut checks: Vec<Check> = Vec::new();
        let mut dropped = 0;
        for victim in &incident.victims {
            if victim.cgroup.is_none() {
                // It was somebody's.
                self.blind(incident.time);
            }
            let Some(container) = &victim.container else {
                continue;
            };
            if let Some(forgotten) = self.struck.put(&container.id, incident.time) {
                self.blind(forgotten);
            }
            let pod_uid = victim.pod.as_ref().and_then(|pod| pod.uid.clone());
            let at = checks.iter().position(|check| check.pod_uid == pod_uid);
            let check = match at.and_then(|at| checks.get_mut(at)) {
                Some(check) => check,
                None => checks.push_mut(Check {
                    incident: Arc::clone(incident),
                    pod_uid,
                    open: Vec::new(),
                    suspects: Vec::new(),
                    ended: Vec::new(),
                    born: now,
                    look: 0,
                }),
            };
            if check.open.contains(&container.id) {
                continue;
            }
            if check.open.len() < CONTAINERS {
                check.open.push(container.id.clone());
            } else {
                dropped += 1;
            }
        }
        for check in checks {
            if self.checks.len() < CHECKS {
                self.checks.push_back(check);
            } else {
                dropped += check.open.len() as u64;
            }
        }
        dropped
    }

    /// Kills up to then may have gone unseen.
    pub fn blind(&mut self, until: Timestamp) {
        self.since = self.since.max(until);
    }

    /// When there is something to look at next.
    pub fn next(&self) -> Option<Instant> {
        self.checks.iter().filter_map(Check::due).min()
    }

    /// A check that is due.
    pub fn due(&mut self, now: Instant) -> Option<Check> {
        let is_due = |check: &Check| check.due().is_none_or(|due| due <= now);
        let at = self.checks.iter().position(is_due)?;
        self.checks.remove(at)
    }

    /// How many containers wait to be decided on.
    pub fn open(&self) -> u64 {
        self.checks
            .iter()
            .map(|check| check.open.len() as u64)
            .sum()
    }

    /// Judges by what the runtime says at `now`, which is `time` on the wall; else why it says nothing.
    /// What is not settled yet is due once more.
    pub fn judge(
        &mut self,
        mut check: Check,
        statuses: Result<&[Status], UndecidedReason>,
        now: Instant,
        time: Timestamp,
    ) -> Vec<Judgement> {
        let (age, is_last) = check.looked(now);
        let statuses = match statuses {
            Ok(statuses) => statuses,
            Err(why) if is_last && check.ended.is_empty() => {
                return vec![Judgement::Undecided(why); check.open.len()];
            }
            Err(_) if is_last => &[],
            // It may answer at the next look.
            Err(_) => {
                self.checks.push_back(check);
                return Vec::new();
            }
        };
        let mut judged = Vec::new();
        for id in std::mem::take(&mut check.open) {
            let status = check.latest(&id, statuses);
            match (
                decide::struck(check.kill(&id), status.as_ref(), age),
                status,
            ) {
                (Decision::Agrees, _) => judged.push(Judgement::Agrees),
                (Decision::Undecided(why), _) => judged.push(Judgement::Undecided(why)),
                (Decision::Differs(verdict), Some(status)) => {
                    judged.push(check.differs(verdict, &status, time));
                }
                (Decision::Differs(_) | Decision::Later, _) => check.open.push(id),
            }
        }
        if age > Age::Fresh {
            judged.extend(self.suspects(&check, statuses, time));
            check.suspects.clear();
        } else {
            for status in statuses {
                let id = &status.container.id;
                if !self.struck.has(id)
                    && !self.told.has(id)
                    && decide::is_suspect(status, check.incident.time)
                {
                    check.suspects.push(id.clone());
                }
            }
        }
        if !is_last && (!check.open.is_empty() || !check.suspects.is_empty()) {
            self.checks.push_back(check);
        }
        judged
    }

    /// What made the runtime mark them before the first look is known by the last one.
    fn suspects(&mut self, check: &Check, statuses: &[Status], time: Timestamp) -> Vec<Judgement> {
        let mut judged = Vec::new();
        for status in statuses {
            let id = &status.container.id;
            if !check.suspects.contains(id) || self.struck.has(id) || self.told.has(id) {
                continue;
            }
            // Once for each container is enough; whoever is forgotten is told of again.
            self.told.put(id, time);
            judged.push(if status.created < self.since {
                Judgement::Undecided(UndecidedReason::Unwatched)
            } else {
                check.differs(MismatchKind::Phantom, status, time)
            });
        }
        judged
    }
}

// === impl Check ===

impl Check {
    /// The pod's uid, where the container is a pod's.
    pub fn pod_uid(&self) -> Option<&str> {
        self.pod_uid.as_deref()
    }

    /// Ids of the containers in it that are to be looked at in any case.
    pub fn containers(&self) -> Vec<String> {
        self.open.iter().chain(&self.suspects).cloned().collect()
    }

    /// The pod as its victims have it.
    pub fn pod(&self) -> Option<&Pod> {
        let mut pods = self
            .incident
            .victims
            .iter()
            .filter_map(|victim| victim.pod.as_ref());
        pods.find(|pod| pod.uid == self.pod_uid)
    }

    /// What the runtime says, corrected by what the kubelet has stored of the pod's containers: that is what
    /// Kubernetes shows, and it keeps it whatever the runtime says later.
    pub fn as_stored(&self, runtime: Vec<Status>, stored: &[Stored]) -> Vec<Status> {
        let find = |id: &str| stored.iter().find(|stored| stored.container_id == id);
        let unknown = |id: &&String| runtime.iter().all(|status| status.container.id != **id);
        let collected = self.open.iter().filter(unknown);
        let collected = collected.filter_map(|id| {
            let (stored, status) = (find(id)?, self.forgotten(id)?);
            Some(match &stored.ended {
                Some(end) => end.apply(status),
                None => Status {
                    state: State::Running,
                    ..status
                },
            })
        });
        let collected: Vec<Status> = collected.collect();
        let known = runtime.into_iter().map(|status| {
            let end = find(&status.container.id).and_then(|stored| stored.ended.as_ref());
            match (end, status.state) {
                (Some(end), _) => end.apply(status),
                // The kubelet has yet to store it.
                (None, State::Exited) => Status {
                    state: State::Unknown,
                    ..status
                },
                (None, _) => status,
            }
        });
        known.chain(collected).collect()
    }

    /// The container of a victim that the runtime does not know any more.
    fn forgotten(&self, id: &str) -> Option<Status> {
        let is_its = |victim: &&Victim| victim.container.as_ref().is_some_and(|one| one.id == id);
        let victim = self.incident.victims.iter().find(is_its)?;
        Some(Status {
            container: victim.container.clone()?,
            pod: victim.pod.clone(),
            state: State::Unknown,
            reason: String::new(),
            exit_code: 0,
            created: Timestamp::MIN,
            finished: None,
        })
    }

    /// Remembers how a container has ended; gives its status, or how it had ended when it was last seen.
    fn latest(&mut self, id: &str, statuses: &[Status]) -> Option<Status> {
        let of_it = |status: &&Status| status.container.id == id;
        let status = statuses.iter().find(of_it);
        match status.map(|status| status.state) {
            Some(State::Exited) => {
                self.ended.retain(|ended| ended.container.id != id);
                self.ended.extend(status.cloned());
                status.cloned()
            }
            Some(State::Created | State::Running) => status.cloned(),
            Some(State::Unknown) | None => self.ended.iter().find(of_it).or(status).cloned(),
        }
    }

    fn due(&self) -> Option<Instant> {
        Some(self.born + LOOKS.get(self.look)?.0)
    }

    /// At `now`: which look this is, and whether it was the last.
    fn looked(&mut self, now: Instant) -> (Age, bool) {
        let mut age = Age::Fresh;
        while let Some((after, next)) = LOOKS.get(self.look)
            && now >= self.born + *after
        {
            (age, self.look) = (*next, self.look + 1);
        }
        (age, self.look == LOOKS.len())
    }

    fn kill(&self, id: &str) -> Kill {
        let incident = &self.incident;
        let mut within = incident.victims.iter().filter(|victim| {
            let container = victim.container.as_ref();
            container.is_some_and(|container| container.id == id)
        });
        Kill {
            time: incident.time,
            first: within.any(|victim| victim.first_process == Some(true)),
            exiting: incident.outcome == Outcome::AlreadyExiting,
        }
    }

    fn differs(&self, verdict: MismatchKind, status: &Status, time: Timestamp) -> Judgement {
        Judgement::Differs(Box::new(Mismatch {
            verdict,
            incident: Arc::clone(&self.incident),
            status: status.clone(),
            time,
        }))
    }
}

// === impl Recent ===

impl Recent {
    fn has(&self, id: &str) -> bool {
        self.0.iter().any(|(known, _)| known == id)
    }

    /// Gives when the one came that had to go.
    fn put(&mut self, id: &str, time: Timestamp) -> Option<Timestamp> {
        if let Some(known) = self.0.iter().position(|(known, _)| known == id) {
            self.0.remove(known);
        }
        self.0.push_back((id.to_owned(), time));
        if self.0.len() <= REMEMBERED {
            return None;
        }
        self.0.pop_front().map(|(_, time)| time)
    }
}
