//! The Events of a report, and the objects that they regard. Pure.

use super::bucket::{BURST, ONCE, WARNINGS};
use crate::incident::{Container, Incident, Outcome, Pod, Scope, Victim};
use crate::report::Report;
use crate::status_check::MismatchKind;
use pressure::Level;

/// Containers of one incident with an Event each: a cgroup that dies as one may span several.
const MAX_CONTAINERS: usize = 8;

/// An Event that is not written yet.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) report: Report,
    pub(super) regarding: Regarding,
    /// Reports of the same kind on the same object, since its last Event, without an Event of their own.
    pub(super) held_back: u64,
}

/// The object that an Event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Regarding {
    /// A container of a pod, or the pod as a whole.
    Pod(Subject),
    /// The node; the subject is the intended one, where its pod's name was never found.
    Node(Option<Subject>),
}

/// A container of a pod, or the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    /// The index of an incident's first victim in it.
    pub(super) victim: usize,
    pub(super) pod: Pod,
    pub(super) container: Option<Container>,
}

/// What Events of one kind of report share.
pub(super) struct EventKind {
    pub(super) event_type: &'static str,
    pub(super) action: &'static str,
    /// What happened to its object.
    pub(super) reason: &'static str,
    /// How many of that kind its object may have at once.
    pub(super) burst: u32,
}

/// `use_node` is false where the Node's name is only guessed.
pub(super) fn draft_events(report: &Report, use_node: bool) -> Vec<Draft> {
    let objects = match report {
        Report::Incident(incident) => objects_of_kills(incident, use_node),
        Report::NoVictim(no_victim) if no_victim.pod.is_none() && use_node => {
            vec![Regarding::Node(None)]
        }
        _ => subject_of(report).map(Regarding::Pod).into_iter().collect(),
    };
    let draft = |regarding| Draft {
        report: report.clone(),
        regarding,
        held_back: 0,
    };
    objects.into_iter().map(draft).collect()
}

/// Each container with a victim, and the Node where the whole node is affected.
fn objects_of_kills(incident: &Incident, use_node: bool) -> Vec<Regarding> {
    let mut subjects: Vec<Subject> = Vec::new();
    for (victim, found) in incident.victims.iter().enumerate() {
        let Some(pod) = &found.pod else { continue };
        let same = |subject: &Subject| {
            subject.pod == *pod && id(subject.container.as_ref()) == id(found.container.as_ref())
        };
        if subjects.len() < MAX_CONTAINERS && !subjects.iter().any(same) {
            subjects.push(Subject {
                victim,
                pod: pod.clone(),
                container: found.container.clone(),
            });
        }
    }
    let whole = matches!(incident.scope, Scope::Node | Scope::Sysrq);
    let outside = incident.victims.iter().any(|victim| victim.pod.is_none());
    let node = use_node && (whole || outside || incident.victims.is_empty());
    let node = node.then_some(Regarding::Node(None));
    subjects
        .into_iter()
        .map(Regarding::Pod)
        .chain(node)
        .collect()
}

/// The container of any other report; `None` where it has no pod.
fn subject_of(report: &Report) -> Option<Subject> {
    let (pod, container) = report.owner();
    let pod = match report {
        // The runtime may not know the pod, and the kernel's kill does.
        Report::Mismatch(mismatch) => pod.or_else(|| mismatch.victims().next()?.pod.as_ref()),
        _ => pod,
    };
    Some(Subject {
        victim: 0,
        pod: pod?.clone(),
        container: container.cloned(),
    })
}

fn id(container: Option<&Container>) -> Option<&str> {
    container.map(|container| container.id.as_str())
}

// === impl Draft ===

impl Draft {
    /// The id of a container whose name, or whose pod's name, is missing: a runtime may still know it.
    pub(crate) fn unnamed(&self) -> Option<&str> {
        let Regarding::Pod(subject) = &self.regarding else {
            return None;
        };
        let container = subject.container.as_ref()?;
        let is_unnamed =
            !subject.is_named() || (self.report.kills().is_some() && container.name.is_none());
        is_unnamed.then_some(container.id.as_str())
    }

    /// Whether its Event goes to the Node where the pod's name is never found.
    pub(super) fn may_regard_node(&self) -> bool {
        matches!(self.report, Report::Incident(_) | Report::NoVictim(_))
    }

    pub(crate) fn is_on_named_pod(&self) -> bool {
        matches!(&self.regarding, Regarding::Pod(subject) if subject.is_named())
    }

    /// Fills in names that were found later.
    pub(crate) fn set_names(&mut self, container: Container, pod: Option<Pod>) {
        if let Regarding::Pod(subject) = &mut self.regarding {
            subject.container = Some(container);
            subject.pod = pod.unwrap_or_else(|| subject.pod.clone());
        }
    }

    /// The key by which the ledger limits Events. Kills have keys of their own, so that no other report uses
    /// up their tokens.
    pub(super) fn object_key(&self) -> String {
        match &self.report {
            Report::Incident(_) => {}
            Report::Mismatch(mismatch) => {
                return format!("{:?} {}", mismatch.verdict, mismatch.status.container.id);
            }
            Report::Warning(warning) => {
                let level = warning.crossing.level.as_str();
                return format!("{level} {}", warning.cgroup);
            }
            Report::BadAnnotations(bad) => {
                return format!("annotations {:?}", bad.pod.uid);
            }
            Report::NoVictim(no_victim) => {
                return format!("no victim {:?}", no_victim.incident.limit_cgroup);
            }
        }
        match &self.regarding {
            Regarding::Node(_) => "node".to_owned(),
            Regarding::Pod(Subject { pod, .. }) => match (&pod.uid, &pod.namespace, &pod.name) {
                (Some(uid), ..) => format!("pod {uid}"),
                (None, namespace, name) => format!("pod {namespace:?}/{name:?}"),
            },
        }
    }

    pub(super) fn kind(&self) -> EventKind {
        let mut event_type = "Warning";
        let (action, reason, burst) = match &self.report {
            Report::Incident(incident) => ("Kill", self.kill_reason(incident), BURST),
            Report::Mismatch(mismatch) => match mismatch.verdict {
                MismatchKind::Missed => ("CompareStatus", "OOMKillMissed", ONCE),
                MismatchKind::Phantom => {
                    // Nothing is wrong with its container.
                    event_type = "Normal";
                    ("CompareStatus", "OOMKillPhantom", ONCE)
                }
            },
            Report::Warning(warning) => match warning.crossing.level {
                Level::Warning => ("Warn", "MemoryNearLimit", WARNINGS),
                Level::Critical => ("Warn", "MemoryAtLimit", WARNINGS),
            },
            Report::BadAnnotations(_) => ("ReadAnnotations", "AnnotationNotHeeded", ONCE),
            Report::NoVictim(_) => ("SelectVictim", "OOMWithoutVictim", ONCE),
        };
        EventKind {
            event_type,
            action,
            reason,
            burst,
        }
    }

    fn kill_reason(&self, incident: &Incident) -> &'static str {
        match (&self.regarding, incident.scope) {
            (Regarding::Pod(_), _) if self.outcome() == Outcome::ContainerDied => "OOMKilled",
            (Regarding::Node(None), Scope::Node) => "NodeOutOfMemory",
            (Regarding::Node(None), Scope::Sysrq) => "SysrqOOMKilled",
            _ => "ProcessOOMKilled",
        }
    }

    /// Equal for kills on one object that may share a series: all that their message has but pids, sizes and
    /// times. `None` for a report that is no kill: all on its object share a series.
    pub(super) fn series_key(&self) -> Option<String> {
        let (incident, victims) = (self.report.kills()?, self.victims());
        let container = self.subject().and_then(|it| it.container.as_ref());
        let container = container.map(|it| it.name.as_ref().unwrap_or(&it.id));
        let comm = victims.first().and_then(|victim| victim.comm.as_ref());
        let trigger = incident.trigger.as_ref().map(|trigger| &trigger.comm);
        let (scope, limit) = (incident.scope, incident.limit_bytes);
        // A restarted container has another cgroup of the same size.
        let cgroup = incident.limit_cgroup.as_ref();
        let cgroup = cgroup.filter(|_| scope == Scope::Ancestor);
        let (outcome, count) = (self.outcome(), self.victim_count());
        let all = (
            container, comm, trigger, scope, limit, cgroup, outcome, count,
        );
        Some(format!("{all:?}"))
    }

    pub(super) fn subject(&self) -> Option<&Subject> {
        match &self.regarding {
            Regarding::Pod(subject) => Some(subject),
            Regarding::Node(subject) => subject.as_ref(),
        }
    }

    /// The victims that the Event regards.
    pub(super) fn victims(&self) -> Vec<&Victim> {
        let all = match &self.report {
            Report::Incident(incident) => &incident.victims,
            Report::Mismatch(mismatch) => return mismatch.victims().collect(),
            Report::Warning(_) | Report::BadAnnotations(_) | Report::NoVictim(_) => {
                return Vec::new();
            }
        };
        let Regarding::Pod(subject) = &self.regarding else {
            return all.iter().collect();
        };
        let Some(first) = all.get(subject.victim) else {
            return Vec::new();
        };
        all.iter()
            .filter(|victim| {
                victim.pod == first.pod
                    && id(victim.container.as_ref()) == id(first.container.as_ref())
            })
            .collect()
    }

    /// Their number, also of those that are not listed.
    pub(super) fn victim_count(&self) -> u64 {
        let victims = self.victims().len();
        let whole = self
            .report
            .kills()
            .filter(|incident| victims == incident.victims.len());
        whole.map_or(victims as u64, |incident| incident.victim_count)
    }

    /// The outcome for this Event's container: the incident's is that of all.
    pub(super) fn outcome(&self) -> Outcome {
        let Some(incident) = self.report.incident() else {
            return Outcome::Unknown;
        };
        let victims = self.victims();
        let whole = victims.len() == incident.victims.len();
        let first = victims
            .iter()
            .any(|victim| victim.first_process == Some(true));
        let children = |victim: &&Victim| victim.first_process == Some(false);
        if whole || first || incident.outcome != Outcome::ContainerDied {
            incident.outcome
        } else if victims.iter().all(children) {
            Outcome::ChildDied
        } else {
            Outcome::Unknown
        }
    }
}

// === impl Subject ===

impl Subject {
    pub(super) fn is_named(&self) -> bool {
        valid_names(&self.pod).is_some()
    }
}

/// The pod's namespace and name, if they are known and safe in a URL: DNS subdomains.
pub(super) fn valid_names(pod: &Pod) -> Option<(&str, &str)> {
    let is_allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    let is_valid = |name: &&str| {
        name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name.bytes().all(is_allowed)
    };
    let namespace = pod.namespace.as_deref().filter(is_valid)?;
    Some((namespace, pod.name.as_deref().filter(is_valid)?))
}
