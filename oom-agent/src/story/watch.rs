//! Which containers are looked at, when, and what is remembered of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::decide::{self, Decision, Kill};
use super::{Finding, Judgement, Status, Verdict, Why};
use crate::incident::{Incident, Outcome};

/// After a kill: the statuses of all runtimes have settled by then, where the container's first process died.
const FIRST: Duration = Duration::from_secs(2);

/// After a kill: a container that lost a child may end of it.
const LAST: Duration = Duration::from_secs(10);

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
    born: Instant,
    due: Instant,
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
                    born: now,
                    due: now + FIRST,
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
        self.checks.iter().map(|check| check.due).min()
    }

    /// A check that is due.
    pub fn due(&mut self, now: Instant) -> Option<Check> {
        let at = self.checks.iter().position(|check| check.due <= now)?;
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
        statuses: Result<&[Status], Why>,
        now: Instant,
        time: Timestamp,
    ) -> Vec<Judgement> {
        let statuses = match statuses {
            Ok(statuses) => statuses,
            // It may answer at the last look.
            Err(_) if !check.is_last() => {
                self.again(check);
                return Vec::new();
            }
            Err(why) => return vec![Judgement::Undecided(why); check.open.len()],
        };
        let last = check.is_last() || now >= check.born + LAST;
        let mut judged = Vec::new();
        for id in std::mem::take(&mut check.open) {
            let status = statuses.iter().find(|status| status.container.id == id);
            match (decide::struck(check.kill(&id), status, last), status) {
                (Decision::Agrees, _) => judged.push(Judgement::Agrees),
                (Decision::Undecided(why), _) => judged.push(Judgement::Undecided(why)),
                (Decision::Differs(verdict), Some(status)) => {
                    judged.push(check.differs(verdict, status, time));
                }
                (Decision::Differs(_) | Decision::Later, _) => check.open.push(id),
            }
        }
        if last {
            judged.extend(self.suspects(&check, statuses, time));
            return judged;
        }
        for status in statuses {
            let id = &status.container.id;
            if !self.struck.has(id)
                && !self.told.has(id)
                && decide::is_suspect(status, check.incident.time)
            {
                check.suspects.push(id.clone());
            }
        }
        if !check.open.is_empty() || !check.suspects.is_empty() {
            self.again(check);
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
                Judgement::Undecided(Why::Unwatched)
            } else {
                check.differs(Verdict::Phantom, status, time)
            });
        }
        judged
    }

    fn again(&mut self, mut check: Check) {
        check.due = check.born + LAST;
        self.checks.push_back(check);
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

    fn is_last(&self) -> bool {
        self.due >= self.born + LAST
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

    fn differs(&self, verdict: Verdict, status: &Status, time: Timestamp) -> Judgement {
        Judgement::Differs(Box::new(Finding {
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
