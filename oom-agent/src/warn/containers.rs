#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use memcg::cgroup::PathIdentity;

use super::annotations::{Complaint, Marks};
use super::pods::{Ask, Known, Pods};
use crate::pressure::threshold::{Crossing, Figures, Level, Scores, Watch};
use crate::pressure::{Key, Pass};

/// From so much of its limit on, in parts, a container's pod is asked for what it is annotated with now.
const NEAR: f64 = 0.5;

/// A crossing waits so long for the annotations of its pod; then the node's marks hold.
const PATIENCE_NS: u64 = 3_000_000_000;

/// What found no room on its way is told again so soon.
const AGAIN: Duration = Duration::from_secs(1);

/// Every container of the node that has a limit, and every pod that alone has one.
pub struct Containers {
    node: Arc<Marks>,
    heed: bool,
    all: HashMap<Key, Container>,
    pods: Pods,
    /// Their number.
    pass: u64,
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
    /// Pods to look up: each is to be [told](Containers::known).
    pub ask: Vec<Ask>,
}

struct Container {
    watch: Watch,
    identity: PathIdentity,
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

// === impl Containers ===

impl Containers {
    /// With the node's marks; `heed` says whether pods can be asked for their annotations.
    pub fn new(node: Marks, heed: bool) -> Self {
        Self {
            node: Arc::new(node),
            heed,
            all: HashMap::new(),
            pods: Pods::default(),
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
        let marks = self.pods.known(uid, known).marks(&self.node);
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
            let identity = &container.identity;
            if identity.container_id.is_none() && identity.pod_uid.is_none() {
                continue;
            }
            // A pod's own cgroup is there before its sandbox, of which nobody knows anything yet.
            let is_askable = identity.container_id.is_some() || ratio >= NEAR;
            let uid = container.identity.pod_uid.as_deref();
            let uid = uid.filter(|_| self.heed && is_askable);
            let now = usage.at_ns;
            let known = match uid {
                Some(uid) => self.pods.look(uid, ratio >= NEAR, now, &mut seen.ask),
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
                container.waits = None;
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

    /// Nobody could do anything about that: it is due again in a second.
    pub fn undone(&mut self, crossed: &Crossed) {
        if let Some(container) = self.all.get_mut(&crossed.key) {
            let settings = &crossed.marks.settings;
            container.watch.undone(&crossed.crossing, settings, AGAIN);
        }
    }

    /// What of a pod's annotations cannot be heeded; true where that is news.
    pub fn complained(&mut self, uid: &str, complaints: &[Complaint]) -> bool {
        self.pods.complained(uid, complaints)
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
    fn new(identity: PathIdentity) -> Self {
        Self {
            watch: Watch::default(),
            identity,
            waits: None,
            pass: 0,
        }
    }
}
