//! Which containers are checked when, and which have had kills and reports.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::decide::{self, Age, Decision, Kill};
use super::mismatch::victims_in;
use super::{Judgement, Mismatch, MismatchKind, State, Status, Stored, UndecidedReason};
use crate::incident::{Incident, Outcome, Pod};

/// When a status is read after a kill, and how final it is then. A container that lost a child may end
/// of it within the first ten seconds.
const LOOKS: [(Duration, Age); 4] = [
    (Duration::from_secs(2), Age::Fresh),
    (Duration::from_secs(10), Age::Settling),
    // A container that ends again and again: its last end is forgotten by the next.
    (Duration::from_secs(30), Age::Settling),
    (Duration::from_mins(1), Age::Settled),
];

/// Pending checks, one for each kill and pod.
const CHECKS: usize = 256;

/// Containers of one incident, in one pod.
const CONTAINERS: usize = 16;

/// Remembered containers.
const REMEMBERED: usize = 1024;

/// The checks to make, and the containers that were seen before.
#[derive(Debug, Default)]
pub(crate) struct PendingChecks {
    checks: VecDeque<Check>,
    killed: Recent,
    reported: Recent,
    /// No kill since then was missed.
    since: Timestamp,
}

/// The containers of one pod to check after one incident.
#[derive(Debug)]
pub(crate) struct Check {
    incident: Arc<Incident>,
    pod_uid: Option<String>,
    /// Containers with victims and without a verdict.
    open: Vec<String>,
    /// Containers without victims whose status was `OOMKilled` at the first look.
    suspects: Vec<String>,
    /// The last seen ends of those in `open`: runtime and kubelet forget one with the next.
    ended: Vec<Status>,
    born: Instant,
    /// Which of [`LOOKS`] is next.
    look: usize,
}

/// Ids of containers, and when each was added; the oldest is dropped.
#[derive(Debug, Default)]
struct Recent(VecDeque<(String, Timestamp)>);

// === impl PendingChecks ===

impl PendingChecks {
    /// `since`: when the capture began.
    pub(crate) fn new(since: Timestamp) -> Self {
        Self {
            since,
            ..Self::default()
        }
    }

    /// Schedules the checks after a kill. Returns the number of containers that find no room.
    pub(crate) fn add_incident(&mut self, incident: &Arc<Incident>, now: Instant) -> u64 {
        let mut checks: Vec<Check> = Vec::new();
        let mut dropped = 0;
        for victim in &incident.victims {
            if victim.cgroup.is_none() {
                // The victim's container is unknown.
                self.mark_missed(incident.time);
            }
            let Some(container) = &victim.container else {
                continue;
            };
            if let Some(dropped_at) = self.killed.insert(&container.id, incident.time) {
                self.mark_missed(dropped_at);
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

    /// Kills until then may have been missed.
    pub(crate) fn mark_missed(&mut self, until: Timestamp) {
        self.since = self.since.max(until);
    }

    /// When the next check is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.checks.iter().filter_map(Check::next_due).min()
    }

    /// Removes a check that is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Check> {
        let is_due = |check: &Check| check.next_due().is_none_or(|due| due <= now);
        let at = self.checks.iter().position(is_due)?;
        self.checks.remove(at)
    }

    /// The number of containers without a verdict.
    pub(crate) fn count_open(&self) -> u64 {
        self.checks
            .iter()
            .map(|check| check.open.len() as u64)
            .sum()
    }

    /// Compares the kills with the statuses read at `now`, which is `time` on the wall, or records why there
    /// are none. A container without a final status stays pending.
    pub(crate) fn judge(
        &mut self,
        mut check: Check,
        statuses: Result<&[Status], UndecidedReason>,
        now: Instant,
        time: Timestamp,
    ) -> Vec<Judgement> {
        let (age, is_last) = check.advance(now);
        let statuses = match statuses {
            Ok(statuses) => statuses,
            Err(why) if is_last && check.ended.is_empty() => {
                return vec![Judgement::Undecided(why); check.open.len()];
            }
            Err(_) if is_last => &[],
            // The next look may succeed.
            Err(_) => {
                self.checks.push_back(check);
                return Vec::new();
            }
        };
        let mut judged = Vec::new();
        for id in std::mem::take(&mut check.open) {
            let status = check.latest_status(&id, statuses);
            match (
                decide::decide_for_victim(check.kill_in(&id), status.as_ref(), age),
                status,
            ) {
                (Decision::Agrees, _) => judged.push(Judgement::Agrees),
                (Decision::Undecided(why), _) => judged.push(Judgement::Undecided(why)),
                (Decision::Differs(verdict), Some(status)) => {
                    judged.push(check.mismatch(verdict, &status, time));
                }
                (Decision::Differs(_) | Decision::Later, _) => check.open.push(id),
            }
        }
        if age > Age::Fresh {
            judged.extend(self.judge_suspects(&check, statuses, time));
            check.suspects.clear();
        } else {
            for status in statuses {
                let id = &status.container.id;
                if !self.killed.contains(id)
                    && !self.reported.contains(id)
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

    /// By the second look every kill before the first one is known.
    fn judge_suspects(
        &mut self,
        check: &Check,
        statuses: &[Status],
        time: Timestamp,
    ) -> Vec<Judgement> {
        let mut judged = Vec::new();
        for status in statuses {
            let id = &status.container.id;
            if !check.suspects.contains(id)
                || self.killed.contains(id)
                || self.reported.contains(id)
            {
                continue;
            }
            // Once for each remembered container.
            self.reported.insert(id, time);
            judged.push(if status.created < self.since {
                Judgement::Undecided(UndecidedReason::Unwatched)
            } else {
                check.mismatch(MismatchKind::Phantom, status, time)
            });
        }
        judged
    }
}

// === impl Check ===

impl Check {
    pub(crate) fn pod_uid(&self) -> Option<&str> {
        self.pod_uid.as_deref()
    }

    /// Ids of the containers whose statuses are needed.
    pub(crate) fn container_ids(&self) -> Vec<String> {
        self.open.iter().chain(&self.suspects).cloned().collect()
    }

    /// The pod as of its victims.
    pub(crate) fn pod(&self) -> Option<&Pod> {
        let mut pods = self
            .incident
            .victims
            .iter()
            .filter_map(|victim| victim.pod.as_ref());
        pods.find(|pod| pod.uid == self.pod_uid)
    }

    /// The runtime's statuses, corrected by those that the kubelet has stored: Kubernetes shows and keeps
    /// these, whatever the runtime reports later.
    pub(crate) fn apply_stored(&self, runtime: Vec<Status>, stored: &[Stored]) -> Vec<Status> {
        let find = |id: &str| stored.iter().find(|stored| stored.container_id == id);
        let unknown = |id: &&String| runtime.iter().all(|status| status.container.id != **id);
        let collected = self.open.iter().filter(unknown);
        let collected = collected.filter_map(|id| {
            let (stored, status) = (find(id)?, self.status_from_victim(id)?);
            Some(match &stored.ended {
                Some(end) => end.apply_to(status),
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
                (Some(end), _) => end.apply_to(status),
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

    /// For a victim's container that the runtime has removed.
    fn status_from_victim(&self, id: &str) -> Option<Status> {
        let victim = victims_in(&self.incident, id).next()?;
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

    /// The container's status, else its last seen end. Remembers an end.
    fn latest_status(&mut self, id: &str, statuses: &[Status]) -> Option<Status> {
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

    fn next_due(&self) -> Option<Instant> {
        Some(self.born + LOOKS.get(self.look)?.0)
    }

    /// Counts the looks that are due at `now`. Returns how final this one is, and whether it is the last.
    fn advance(&mut self, now: Instant) -> (Age, bool) {
        let mut age = Age::Fresh;
        while let Some((after, next)) = LOOKS.get(self.look)
            && now >= self.born + *after
        {
            (age, self.look) = (*next, self.look + 1);
        }
        (age, self.look == LOOKS.len())
    }

    fn kill_in(&self, id: &str) -> Kill {
        let incident = &self.incident;
        Kill {
            time: incident.time,
            first: victims_in(incident, id).any(|victim| victim.first_process == Some(true)),
            exiting: incident.outcome == Outcome::AlreadyExiting,
        }
    }

    fn mismatch(&self, verdict: MismatchKind, status: &Status, time: Timestamp) -> Judgement {
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
    fn contains(&self, id: &str) -> bool {
        self.0.iter().any(|(known, _)| known == id)
    }

    /// Returns when the entry was added that was dropped for it.
    fn insert(&mut self, id: &str, time: Timestamp) -> Option<Timestamp> {
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
