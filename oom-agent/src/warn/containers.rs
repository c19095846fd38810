#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use memcg::OomScores;
use memcg::cgroup::PathIdentity;

use super::pod_policies::{PodLookup, PodPolicies};
use super::policy::{AnnotationError, Policy};
use pressure::{CgroupKey, Crossing, Level, LevelTracker, Sweep, Variables};

/// From so much of its limit on, in parts, the annotations that a container's pod has now are read.
const NEAR: f64 = 0.5;

/// A crossing waits so long for the annotations of its pod; then the node's thresholds hold.
const PATIENCE_NS: u64 = 3_000_000_000;

/// A crossing that found no room in a queue is due again so soon.
const AGAIN: Duration = Duration::from_secs(1);

/// Every container of the node that has a limit, and every pod that alone has one.
pub(crate) struct Containers {
    node: Arc<Policy>,
    reads_annotations: bool,
    all: HashMap<CgroupKey, Container>,
    pods: PodPolicies,
    sweep: u64,
}

/// A container has come to a level.
#[derive(Clone, Debug)]
pub(crate) struct ContainerCrossing {
    pub(crate) key: CgroupKey,
    pub(crate) crossing: Crossing,
    /// That it was compared with.
    pub(crate) policy: Arc<Policy>,
}

/// The outcome of a sweep.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) crossings: Vec<ContainerCrossing>,
    /// Each is to be [finished](Containers::finish_lookup).
    pub(crate) lookups: Vec<PodLookup>,
}

#[derive(Default)]
struct Container {
    tracker: LevelTracker,
    identity: PathIdentity,
    /// A crossing that waits for the pod's annotations.
    waiting: Option<Waiting>,
    /// The last sweep that it was in.
    sweep: u64,
}

struct Waiting {
    since_ns: u64,
    /// Of the last sample.
    variables: Variables,
}

// === impl Containers ===

impl Containers {
    pub(crate) fn new(node: Policy, reads_annotations: bool) -> Self {
        Self {
            node: Arc::new(node),
            reads_annotations,
            all: HashMap::new(),
            pods: PodPolicies::default(),
            sweep: 0,
        }
    }

    /// Keeps the outcome of a lookup; `None`: it failed. Gives the crossings that have waited for it.
    pub(crate) fn finish_lookup(
        &mut self,
        uid: &str,
        found: Option<Arc<Policy>>,
        forecast: impl Fn(&CgroupKey) -> Option<Duration>,
    ) -> Vec<ContainerCrossing> {
        let policy = self.pods.set(uid, found);
        let policy = policy.as_ref().unwrap_or(&self.node);
        let mut crossings = Vec::new();
        let of_pod =
            |container: &&mut Container| container.identity.pod_uid.as_deref() == Some(uid);
        for (key, container) in &mut self.all {
            let Some(container) = Some(container).filter(of_pod) else {
                continue;
            };
            let Some(waiting) = container.waiting.take() else {
                continue;
            };
            if policy.thresholds.needs_scores() && !self.node.thresholds.needs_scores() {
                // They were not read; with the next sample they are.
                continue;
            }
            crossings.extend(container.update(key, policy, &waiting.variables, || forecast(key)));
        }
        crossings
    }

    /// Takes a sweep. What is no container is skipped. `scores` are read where thresholds need them, and a
    /// `forecast` is made for crossings.
    pub(crate) fn update(
        &mut self,
        sweep: &Sweep<'_>,
        mut scores: impl FnMut(&CgroupKey) -> OomScores,
        forecast: impl Fn(&CgroupKey) -> Option<Duration>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        self.sweep = self.sweep.wrapping_add(1);
        for (key, sample) in sweep.samples {
            let Some(ratio) = sample.ratio() else {
                continue;
            };
            // Most are known: nothing is allocated for them.
            if !self.all.contains_key(key) {
                let new = Container {
                    identity: key.identity(),
                    ..Container::default()
                };
                self.all.insert(key.clone(), new);
            }
            let Some(container) = self.all.get_mut(key) else {
                continue;
            };
            container.sweep = self.sweep;
            let identity = &container.identity;
            if identity.container_id.is_none() && identity.pod_uid.is_none() {
                continue;
            }
            // A pod's own cgroup is there before its sandbox, which no runtime has yet.
            let has_sandbox = identity.container_id.is_some() || ratio >= NEAR;
            let uid = container.identity.pod_uid.as_deref();
            let uid = uid.filter(|_| self.reads_annotations && has_sandbox);
            let now = sample.at_ns;
            let (near, node) = (ratio >= NEAR, &self.node);
            let known = match uid {
                Some(uid) => self.pods.get(uid, near, now, node, &mut outcome.lookups),
                None => Some(Arc::clone(node)),
            };
            let policy = known.as_ref().unwrap_or(node);
            let variables = Variables {
                sample: *sample,
                scores: if policy.thresholds.needs_scores() {
                    scores(key)
                } else {
                    OomScores::default()
                },
            };
            let before = container.tracker;
            let waiting = container.waiting.take();
            let crossing = container.update(key, policy, &variables, || forecast(key));
            let Some(crossing) = crossing else {
                continue;
            };
            // By the node's thresholds, while its pod's annotations are being read.
            if known.is_none() {
                let since_ns = waiting.map_or(now, |waiting| waiting.since_ns);
                if now.saturating_sub(since_ns) < PATIENCE_NS {
                    container.waiting = Some(Waiting {
                        since_ns,
                        variables,
                    });
                    container.tracker = before;
                    continue;
                }
            }
            outcome.crossings.push(crossing);
        }
        if sweep.whole {
            self.all
                .retain(|_, container| container.sweep == self.sweep);
        }
        outcome
    }

    /// Nothing could be done about that: it is due again in a second.
    pub(crate) fn retry(&mut self, crossing: &ContainerCrossing) {
        if let Some(container) = self.all.get_mut(&crossing.key) {
            let thresholds = &crossing.policy.thresholds;
            container
                .tracker
                .retry(&crossing.crossing, thresholds, AGAIN);
        }
    }

    /// Keeps a pod's bad annotations; true where they are new.
    pub(crate) fn set_annotation_errors(&mut self, uid: &str, errors: &[AnnotationError]) -> bool {
        self.pods.set_errors(uid, errors)
    }

    /// How many containers are at each level, the lower first.
    pub(crate) fn count_at_levels(&self) -> [usize; 2] {
        Level::ALL.map(|level| {
            let at = |container: &&Container| container.tracker.level() == Some(level);
            self.all.values().filter(at).count()
        })
    }
}

// === impl Container ===

impl Container {
    fn update(
        &mut self,
        key: &CgroupKey,
        policy: &Arc<Policy>,
        variables: &Variables,
        forecast: impl Fn() -> Option<Duration>,
    ) -> Option<ContainerCrossing> {
        let crossing = self.tracker.update(&policy.thresholds, variables, None)?;
        Some(ContainerCrossing {
            key: key.clone(),
            crossing: Crossing {
                forecast: forecast(),
                ..crossing
            },
            policy: Arc::clone(policy),
        })
    }
}
