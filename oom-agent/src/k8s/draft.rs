//! What becomes an Event: which objects it is told on. Pure.

use std::sync::Arc;

use jiff::Timestamp;

use super::bucket::{BURST, ONCE, WARNINGS};
use crate::incident::{Container, Incident, Outcome, Pod, Scope, Victim};
use crate::no_victim::NoVictim;
use crate::story::Finding;
use crate::warn::{BadAnnotations, Warning};

/// Containers of one incident that have an Event each: a cgroup that dies as one may span several.
const CONTAINERS: usize = 8;

/// An Event to be.
#[derive(Clone, Debug)]
pub struct Draft {
    pub(super) told: Told,
    pub(super) on: On,
    /// Of the same kind on the same object, since its last Event, that have none of their own.
    pub(super) held_back: u64,
}

/// What an Event tells.
#[derive(Clone, Debug)]
pub(super) enum Told {
    Kill(Arc<Incident>),
    Aside(Aside),
}

/// What is told beside the kills, on a pod.
#[derive(Clone, Debug)]
pub enum Aside {
    /// What Kubernetes makes of a kill.
    Verdict(Arc<Finding>),
    /// A container is near its limit.
    Warning(Arc<Warning>),
    /// The pod asks for what cannot be heeded.
    Unheeded(Arc<BadAnnotations>),
    /// An OOM killed nobody: on its pod, or else on the Node.
    NoVictim(Arc<NoVictim>),
}

/// The object that an Event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum On {
    /// A container of a pod, or the pod as a whole.
    Pod(Subject),
    /// The node; the subject is whom it should have been about, where its pod never had a name.
    Node(Option<Subject>),
}

/// A container of a pod, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    /// Index of its first victim.
    pub(super) victim: usize,
    pub(super) pod: Pod,
    pub(super) container: Option<Container>,
}

/// What makes two kills on one object the same story: all that a note says but pids, sizes and the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Story {
    container: Option<String>,
    comm: Option<String>,
    trigger: Option<String>,
    scope: Scope,
    limit_bytes: Option<u64>,
    limit_cgroup: Option<String>,
    outcome: Outcome,
    victims: u64,
}

/// The Events that an incident makes: one for each container with a victim, one on the Node where the
/// whole node is concerned. `tell_node` is false where the Node's name is only guessed.
pub(super) fn of(incident: &Arc<Incident>, tell_node: bool) -> Vec<Draft> {
    let mut subjects: Vec<Subject> = Vec::new();
    for (victim, found) in incident.victims.iter().enumerate() {
        let Some(pod) = &found.pod else { continue };
        let same = |subject: &Subject| {
            subject.pod == *pod && id(subject.container.as_ref()) == id(found.container.as_ref())
        };
        if subjects.len() < CONTAINERS && !subjects.iter().any(same) {
            subjects.push(Subject {
                victim,
                pod: pod.clone(),
                container: found.container.clone(),
            });
        }
    }
    let whole = matches!(incident.scope, Scope::Node | Scope::Sysrq);
    let outside = incident.victims.iter().any(|victim| victim.pod.is_none());
    let node = tell_node && (whole || outside || incident.victims.is_empty());
    subjects
        .into_iter()
        .map(On::Pod)
        .chain(node.then_some(On::Node(None)))
        .map(|on| Draft {
            told: Told::Kill(Arc::clone(incident)),
            on,
            held_back: 0,
        })
        .collect()
}

/// The Event that something else makes, on its pod; `None` for a container that is no pod's, but for an OOM
/// without a victim, which is the Node's then.
pub(super) fn aside(aside: &Aside, tell_node: bool) -> Option<Draft> {
    let subject = match aside {
        Aside::Verdict(finding) => of_finding(finding)?,
        Aside::Warning(warning) => Subject {
            victim: 0,
            pod: warning.pod.clone()?,
            container: warning.container.clone(),
        },
        Aside::Unheeded(unheeded) => Subject {
            victim: 0,
            pod: unheeded.pod.clone(),
            container: None,
        },
        Aside::NoVictim(told) => {
            let Some(pod) = told.pod.clone() else {
                return tell_node.then(|| Draft {
                    told: Told::Aside(aside.clone()),
                    on: On::Node(None),
                    held_back: 0,
                });
            };
            Subject {
                victim: 0,
                pod,
                container: told.container.clone(),
            }
        }
    };
    Some(Draft {
        told: Told::Aside(aside.clone()),
        on: On::Pod(subject),
        held_back: 0,
    })
}

fn of_finding(finding: &Finding) -> Option<Subject> {
    let incident = &finding.incident;
    let container = &finding.status.container;
    let of_it = |victim: &Victim| id(victim.container.as_ref()) == Some(&container.id);
    let victim = incident.victims.iter().position(of_it);
    let known = victim.and_then(|victim| incident.victims.get(victim));
    let known = known.and_then(|victim| victim.pod.as_ref());
    let pod = finding.status.pod.as_ref().or(known)?;
    Some(Subject {
        victim: victim.unwrap_or_default(),
        pod: pod.clone(),
        container: Some(container.clone()),
    })
}

fn id(container: Option<&Container>) -> Option<&str> {
    container.map(|container| container.id.as_str())
}

// === impl Draft ===

impl Draft {
    /// The incident that it tells of, or judges.
    pub fn incident(&self) -> Option<&Incident> {
        match &self.told {
            Told::Kill(incident) => Some(incident),
            Told::Aside(Aside::Verdict(finding)) => Some(&finding.incident),
            Told::Aside(Aside::NoVictim(told)) => Some(&told.incident),
            Told::Aside(Aside::Warning(_) | Aside::Unheeded(_)) => None,
        }
    }

    /// Of what it tells: a retry has the same.
    pub fn id(&self) -> &str {
        match &self.told {
            Told::Kill(incident) => &incident.id,
            Told::Aside(Aside::Verdict(finding)) => &finding.incident.id,
            Told::Aside(Aside::Warning(warning)) => &warning.id,
            Told::Aside(Aside::Unheeded(unheeded)) => &unheeded.id,
            Told::Aside(Aside::NoVictim(told)) => &told.incident.id,
        }
    }

    /// The id of a container that has no name yet, or whose pod has none: somebody may still know it.
    pub fn unnamed(&self) -> Option<&str> {
        let On::Pod(subject) = &self.on else {
            return None;
        };
        let container = subject.container.as_ref()?;
        let is_unnamed = !subject.is_named() || (self.kill().is_some() && container.name.is_none());
        is_unnamed.then_some(container.id.as_str())
    }

    /// Whether the Node takes its Event where the pod's name never comes.
    pub(super) fn has_stand_in(&self) -> bool {
        matches!(self.told, Told::Kill(_) | Told::Aside(Aside::NoVictim(_)))
    }

    /// Whether it is about a pod whose name is known.
    pub fn is_on_named_pod(&self) -> bool {
        matches!(&self.on, On::Pod(subject) if subject.is_named())
    }

    /// Fills in what somebody knew of the container in the end.
    pub fn name(&mut self, container: Container, pod: Option<Pod>) {
        if let On::Pod(subject) = &mut self.on {
            subject.container = Some(container);
            subject.pod = pod.unwrap_or_else(|| subject.pod.clone());
        }
    }

    /// The kill that it tells of; `None` where it tells something else.
    pub fn kill(&self) -> Option<&Incident> {
        match &self.told {
            Told::Kill(incident) => Some(incident),
            Told::Aside(_) => None,
        }
    }

    /// Whether it tells of a container near its limit: old news soon.
    pub fn is_warning(&self) -> bool {
        matches!(self.told, Told::Aside(Aside::Warning(_)))
    }

    /// When it was seen in the kernel, in ns of `CLOCK_MONOTONIC`; `None` where it was not.
    pub fn stamp_ns(&self) -> Option<u64> {
        match &self.told {
            Told::Aside(Aside::Warning(warning)) => Some(warning.crossing.sample.at_ns),
            _ => Some(self.incident()?.stamp_ns),
        }
    }

    /// When it happened.
    pub(super) fn time(&self) -> Timestamp {
        match &self.told {
            Told::Kill(incident) => incident.time,
            Told::Aside(Aside::Verdict(finding)) => finding.time,
            Told::Aside(Aside::Warning(warning)) => warning.time,
            Told::Aside(Aside::Unheeded(unheeded)) => unheeded.time,
            Told::Aside(Aside::NoVictim(told)) => told.incident.time,
        }
    }

    /// Where it happened.
    pub(super) fn node(&self) -> &str {
        match &self.told {
            Told::Kill(incident) => &incident.node,
            Told::Aside(Aside::Verdict(finding)) => &finding.incident.node,
            Told::Aside(Aside::Warning(warning)) => &warning.node,
            Told::Aside(Aside::Unheeded(unheeded)) => &unheeded.node,
            Told::Aside(Aside::NoVictim(told)) => &told.incident.node,
        }
    }

    /// What the recorder counts Events by. What is no kill goes apart from the kills: their Events come
    /// first, and neither takes the others' room.
    pub(super) fn object(&self) -> String {
        match &self.told {
            Told::Kill(_) => {}
            Told::Aside(Aside::Verdict(finding)) => {
                return format!("{:?} {}", finding.verdict, finding.status.container.id);
            }
            Told::Aside(Aside::Warning(warning)) => {
                let level = warning.crossing.level.as_str();
                return format!("{level} {}", warning.cgroup);
            }
            Told::Aside(Aside::Unheeded(unheeded)) => {
                return format!("annotations {:?}", unheeded.pod.uid);
            }
            Told::Aside(Aside::NoVictim(told)) => {
                return format!("no victim {:?}", told.incident.limit_cgroup);
            }
        }
        match &self.on {
            On::Node(_) => "node".to_owned(),
            On::Pod(Subject { pod, .. }) => match (&pod.uid, &pod.namespace, &pod.name) {
                (Some(uid), ..) => format!("pod {uid}"),
                (None, namespace, name) => format!("pod {namespace:?}/{name:?}"),
            },
        }
    }

    /// How many Events there may be at once of that kind on that object.
    pub(super) fn burst(&self) -> u32 {
        match &self.told {
            Told::Kill(_) => BURST,
            Told::Aside(Aside::Warning(_)) => WARNINGS,
            Told::Aside(Aside::Verdict(_) | Aside::Unheeded(_) | Aside::NoVictim(_)) => ONCE,
        }
    }

    /// `None` of what is no kill: all on its object are the same, whoever was struck.
    pub(super) fn story(&self) -> Option<Story> {
        let (incident, victims) = (self.kill()?, self.victims());
        let subject = self.subject();
        let container = subject.and_then(|subject| subject.container.as_ref());
        Some(Story {
            container: container
                .map(|container| container.name.clone().unwrap_or(container.id.clone())),
            comm: victims.first().and_then(|victim| victim.comm.clone()),
            trigger: incident
                .trigger
                .as_ref()
                .map(|trigger| trigger.comm.clone()),
            scope: incident.scope,
            limit_bytes: incident.limit_bytes,
            // A container that is started again has another cgroup of the same size.
            limit_cgroup: (incident.scope == Scope::Ancestor)
                .then(|| incident.limit_cgroup.clone())
                .flatten(),
            outcome: self.outcome(),
            victims: self.victim_count(),
        })
    }

    pub(super) fn subject(&self) -> Option<&Subject> {
        match &self.on {
            On::Pod(subject) => Some(subject),
            On::Node(subject) => subject.as_ref(),
        }
    }

    /// Those that the Event is about.
    pub(super) fn victims(&self) -> Vec<&Victim> {
        let all = match &self.told {
            Told::Kill(incident) => &incident.victims,
            Told::Aside(Aside::Verdict(finding)) => return finding.victims().collect(),
            Told::Aside(Aside::Warning(_) | Aside::Unheeded(_) | Aside::NoVictim(_)) => {
                return Vec::new();
            }
        };
        let On::Pod(subject) = &self.on else {
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

    /// How many those are, of which not all may be listed.
    pub(super) fn victim_count(&self) -> u64 {
        let victims = self.victims().len();
        let whole = self
            .kill()
            .filter(|incident| victims == incident.victims.len());
        whole.map_or(victims as u64, |incident| incident.victim_count)
    }

    /// What became of this Event's container: the incident's outcome is that of all.
    pub(super) fn outcome(&self) -> Outcome {
        let Some(incident) = self.incident() else {
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
    /// Whether namespace and name are known, and are names: they become part of a URL.
    pub(super) fn is_named(&self) -> bool {
        [&self.pod.namespace, &self.pod.name]
            .into_iter()
            .all(|name| name.as_deref().is_some_and(is_name))
    }
}

/// What Kubernetes takes for a pod's or a namespace's name, as far as a URL is concerned: a DNS subdomain.
pub(super) fn is_name(name: &str) -> bool {
    let of_a_name = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    name.starts_with(|first: char| first.is_ascii_alphanumeric()) && name.bytes().all(of_a_name)
}
