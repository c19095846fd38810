#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::annotations::{Complaint, Marks};
use crate::cgroup::Identity;
use crate::pressure::threshold::{Crossing, Figures, Level, Mark, Scores, Watch};
use crate::pressure::{Key, Pass};

/// A pod is asked for once a container of it has come so near its limit, in parts, or to the node's
/// warning if that is sooner: what it is annotated with is known by the time that it matters.
const ASK_AT: f64 = 0.5;

/// After a lookup that failed, or found no room, the next.
const ASK_AGAIN_NS: u64 = 30_000_000_000;

/// What a pod is annotated with is known for so long at most.
const RENEW_NS: u64 = 300_000_000_000;

/// Pods whose annotations are remembered.
const PODS: usize = 1024;

/// A crossing waits so long for the annotations of its pod; then the node's marks hold.
const PATIENCE_NS: u64 = 3_000_000_000;

/// Every container of the node that has a limit.
pub struct Containers {
    node: Arc<Marks>,
    heed: bool,
    all: HashMap<Key, Container>,
    pods: HashMap<String, Pod>,
    /// Their number.
    pass: u64,
}

/// What was found out of a pod.
#[derive(Clone, Debug)]
pub enum Known {
    /// Its marks, annotations heeded.
    Marks(Arc<Marks>),
    /// Nothing, for now: the node's hold.
    Nothing,
}

/// A container has come to a level.
#[derive(Clone, Debug)]
pub struct Crossed {
    /// Which.
    pub key: Key,
    /// How near it is.
    pub crossing: Crossing,
    /// What it was judged by.
    pub marks: Arc<Marks>,
}

/// What one pass gives.
#[derive(Debug, Default)]
pub struct Seen {
    /// Who has come to a level.
    pub crossed: Vec<Crossed>,
    /// Pods to look up, by their uids: each is to be [told](Containers::known).
    pub ask: Vec<String>,
}

struct Container {
    watch: Watch,
    identity: Identity,
    /// A crossing that waits for the pod's annotations.
    waits: Option<Waits>,
    /// The last that it was in.
    pass: u64,
}

struct Waits {
    since_ns: u64,
    /// As of the last look.
    figures: Figures,
}

struct Pod {
    known: Option<Known>,
    asked_ns: u64,
    complaints: Vec<Complaint>,
}

// === impl Containers ===

impl Containers {
    /// With the node's marks; `heed` says whether pods can be asked for their annotations.
    pub fn new(node: Marks, heed: bool) -> Self {
        Self {
            node: Arc::new(node),
            heed,
            all: HashMap::new(),
            pods: HashMap::new(),
            pass: 0,
        }
    }

    /// A lookup has come to its end. Who has waited for it, and has come to a level, is told of at once.
    pub fn known(
        &mut self,
        uid: &str,
        known: Known,
        forecast: impl Fn(&Key) -> Option<Duration>,
    ) -> Vec<Crossed> {
        let marks = known.marks(&self.node);
        let mut crossed = Vec::new();
        let of_pod =
            |container: &&mut Container| container.identity.pod_uid.as_deref() == Some(uid);
        for (key, container) in &mut self.all {
            let Some(container) = Some(container).filter(of_pod) else {
                continue;
            };
            let Some(waits) = container.waits.take() else {
                continue;
            };
            if marks.settings.needs_scores() && !self.node.settings.needs_scores() {
                // They were not read; the next look does.
                continue;
            }
            let crossing = container.watch.look(&marks.settings, &waits.figures, None);
            crossed.extend(crossing.map(|crossing| Crossed {
                key: key.clone(),
                crossing: Crossing {
                    forecast: forecast(key),
                    ..crossing
                },
                marks: Arc::clone(&marks),
            }));
        }
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.known = Some(known);
        }
        crossed
    }

    /// Takes a pass. What is no container is passed over. `scores` are asked for where marks need them,
    /// and `forecast` for who is told of.
    pub fn take(
        &mut self,
        pass: &Pass<'_>,
        mut scores: impl FnMut(&Key) -> Scores,
        forecast: impl Fn(&Key) -> Option<Duration>,
    ) -> Seen {
        let mut seen = Seen::default();
        self.pass = self.pass.wrapping_add(1);
        for (key, usage) in pass.usages {
            let Some(ratio) = usage.ratio() else { continue };
            // Most are known, and a look at them allocates nothing.
            if !self.all.contains_key(key) {
                self.all.insert(key.clone(), Container::new(key.identity()));
            }
            let Some(container) = self.all.get_mut(key) else {
                continue;
            };
            container.pass = self.pass;
            if container.identity.container_id.is_none() {
                continue;
            }
            let uid = container.identity.pod_uid.as_deref();
            let uid = uid.filter(|_| self.heed);
            let near = ratio >= ask_at(&self.node);
            let now = usage.at_ns;
            let known = match uid {
                Some(uid) if near => self.pods.lookup(uid, now, &mut seen.ask),
                Some(uid) => self.pods.get(uid).and_then(|pod| pod.known.clone()),
                None => Some(Known::Nothing),
            };
            let marks = known.as_ref().unwrap_or(&Known::Nothing).marks(&self.node);
            let figures = Figures {
                usage: *usage,
                scores: if marks.settings.needs_scores() {
                    scores(key)
                } else {
                    Scores::default()
                },
            };
            let before = container.watch;
            let crossing = container.watch.look(&marks.settings, &figures, None);
            let Some(crossing) = crossing else {
                continue;
            };
            // By the node's marks, and its pod is being asked for its own.
            if known.is_none() {
                let since_ns = container.waits.as_ref().map_or(now, |waits| waits.since_ns);
                if now.saturating_sub(since_ns) < PATIENCE_NS {
                    container.waits = Some(Waits { since_ns, figures });
                    container.watch = before;
                    continue;
                }
            }
            container.waits = None;
            seen.crossed.push(Crossed {
                key: key.clone(),
                crossing: Crossing {
                    forecast: forecast(key),
                    ..crossing
                },
                marks,
            });
        }
        if pass.whole {
            self.all.retain(|_, container| container.pass == self.pass);
        }
        seen
    }

    /// What of a pod's annotations cannot be heeded; true where that is news.
    pub fn complained(&mut self, uid: &str, complaints: &[Complaint]) -> bool {
        let Some(pod) = self.pods.get_mut(uid) else {
            return false;
        };
        let news = pod.complaints != complaints;
        pod.complaints = complaints.to_vec();
        news && !complaints.is_empty()
    }

    /// How many containers are at each level, the lower first.
    pub fn at_level(&self) -> [usize; 2] {
        Level::ALL.map(|level| {
            let at = |container: &&Container| container.watch.level() == Some(level);
            self.all.values().filter(at).count()
        })
    }
}

// === impl Container ===

impl Container {
    fn new(identity: Identity) -> Self {
        Self {
            watch: Watch::default(),
            identity,
            waits: None,
            pass: 0,
        }
    }
}

// === impl Known ===

impl Known {
    fn marks(&self, node: &Arc<Marks>) -> Arc<Marks> {
        match self {
            Self::Marks(marks) => Arc::clone(marks),
            Self::Nothing => Arc::clone(node),
        }
    }
}

/// From which part of the limit on pods are asked for.
fn ask_at(node: &Marks) -> f64 {
    match node.settings.warning {
        Some(Mark::Percent(percent) | Mark::WorkingSet(percent)) => ASK_AT.min(percent / 100.0),
        _ => ASK_AT,
    }
}

trait Lookup {
    fn lookup(&mut self, uid: &str, now_ns: u64, ask: &mut Vec<String>) -> Option<Known>;
}

impl Lookup for HashMap<String, Pod> {
    /// `None` while a first lookup is under way.
    fn lookup(&mut self, uid: &str, now_ns: u64, ask: &mut Vec<String>) -> Option<Known> {
        if !self.contains_key(uid) {
            if self.len() >= PODS {
                self.retain(|_, pod| now_ns.saturating_sub(pod.asked_ns) < RENEW_NS);
            }
            if self.len() >= PODS {
                return Some(Known::Nothing);
            }
        }
        let pod = self.entry(uid.to_owned()).or_insert(Pod {
            known: None,
            asked_ns: 0,
            complaints: Vec::new(),
        });
        let age = match pod.known {
            Some(Known::Marks(_)) => RENEW_NS,
            Some(Known::Nothing) | None => ASK_AGAIN_NS,
        };
        if pod.asked_ns == 0 || now_ns.saturating_sub(pod.asked_ns) >= age {
            pod.asked_ns = now_ns.max(1);
            ask.push(uid.to_owned());
        }
        pod.known.clone()
    }
}
