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
        Some(Mark::Percent(percent)) => ASK_AT.min(percent / 100.0),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pressure::Usage;
    use crate::pressure::threshold::Settings;

    const SECOND: u64 = 1_000_000_000;
    const UID: &str = "6a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e";

    fn container(n: u64) -> Key {
        Key::new(&format!("/kubepods/burstable/pod{UID}/{n:064x}"), n)
    }

    fn usage(at_s: u64, percent: u64) -> Usage {
        Usage {
            at_ns: at_s * SECOND,
            current: percent,
            working_set: percent,
            limit: Some(100),
            psi: None,
        }
    }

    const FORECAST: Duration = Duration::from_secs(9);

    fn levels(crossed: &[Crossed]) -> Vec<Level> {
        let level = |crossed: &Crossed| {
            assert_eq!(crossed.crossing.forecast, Some(FORECAST));
            crossed.crossing.level
        };
        crossed.iter().map(level).collect()
    }

    struct Node(Containers);

    impl Node {
        fn new(heed: bool) -> Self {
            Self(Containers::new(
                Marks::of_node(Settings::default(), true),
                heed,
            ))
        }

        /// Levels that are told, and pods that are asked for.
        fn pass(&mut self, usages: &[(Key, Usage)]) -> (Vec<Level>, usize) {
            let pass = Pass {
                usages,
                whole: true,
            };
            let seen = self
                .0
                .take(&pass, |_| Scores::default(), |_| Some(FORECAST));
            (levels(&seen.crossed), seen.ask.len())
        }

        /// Levels that are told then.
        fn known(&mut self, known: Known) -> Vec<Level> {
            levels(&self.0.known(UID, known, |_| Some(FORECAST)))
        }
    }

    fn annotated(warning: &str) -> Known {
        let settings = Settings {
            warning: Some(warning.parse().unwrap()),
            ..Settings::default()
        };
        Known::Marks(Arc::new(Marks::of_node(settings, true)))
    }

    #[test]
    fn each_container_is_told_by_itself_and_no_other_cgroup_is() {
        let mut node = Node::new(false);
        let service = Key::new("/system.slice/sshd.service", 9);
        let pass = [
            (container(1), usage(1, 80)),
            (container(2), usage(1, 95)),
            (container(3), usage(1, 20)),
            (service, usage(1, 99)),
        ];
        let expected = vec![Level::Warning, Level::Critical];
        assert_eq!(node.pass(&pass), (expected, 0));
        assert_eq!(node.0.at_level(), [1, 1]);
        assert_eq!(node.pass(&[]), (vec![], 0));
        assert_eq!(node.0.at_level(), [0, 0]);
    }

    #[test]
    fn a_pod_is_asked_for_once_and_before_it_matters() {
        let mut node = Node::new(true);
        assert_eq!(node.pass(&[(container(1), usage(1, 49))]), (vec![], 0));
        let two = [(container(1), usage(2, 50)), (container(2), usage(2, 60))];
        assert_eq!(node.pass(&two), (vec![], 1));
        assert_eq!(node.known(annotated("55")), []);
        // By the pod's own mark.
        assert_eq!(
            node.pass(&[(container(1), usage(3, 55))]),
            (vec![Level::Warning], 0)
        );
        // And anew after five minutes.
        assert_eq!(node.pass(&[(container(1), usage(303, 20))]), (vec![], 0));
        assert_eq!(node.pass(&[(container(1), usage(304, 50))]).1, 1);
    }

    #[test]
    fn a_crossing_waits_for_its_pod_but_not_for_long() {
        let mut node = Node::new(true);
        assert_eq!(node.pass(&[(container(1), usage(1, 80))]), (vec![], 1));
        assert_eq!(node.known(annotated("85")), []);
        assert_eq!(node.pass(&[(container(1), usage(2, 80))]), (vec![], 0));
        let mut soon = Node::new(true);
        assert_eq!(soon.pass(&[(container(1), usage(1, 80))]), (vec![], 1));
        assert_eq!(soon.known(annotated("60")), [Level::Warning]);
        // And once.
        assert_eq!(soon.known(annotated("60")), []);
        assert_eq!(soon.pass(&[(container(1), usage(2, 80))]), (vec![], 0));
        let mut silent = Node::new(true);
        assert_eq!(silent.pass(&[(container(1), usage(1, 80))]), (vec![], 1));
        assert_eq!(silent.pass(&[(container(1), usage(3, 80))]), (vec![], 0));
        assert_eq!(
            silent.pass(&[(container(1), usage(4, 80))]),
            (vec![Level::Warning], 0)
        );
    }

    #[test]
    fn a_lookup_that_failed_is_tried_again_and_the_nodes_marks_hold_meanwhile() {
        let mut node = Node::new(true);
        assert_eq!(node.pass(&[(container(1), usage(1, 50))]).1, 1);
        assert_eq!(node.known(Known::Nothing), []);
        assert_eq!(
            node.pass(&[(container(1), usage(2, 80))]),
            (vec![Level::Warning], 0)
        );
        assert_eq!(node.pass(&[(container(1), usage(30, 60))]).1, 0);
        assert_eq!(node.pass(&[(container(1), usage(31, 60))]).1, 1);
    }

    #[test]
    fn a_complaint_is_news_once() {
        let mut node = Node::new(true);
        let complaint = |why: &str| {
            [Complaint {
                name: "warning",
                why: why.to_owned(),
            }]
        };
        assert!(!node.0.complained(UID, &complaint("a")), "of nobody");
        assert_eq!(node.pass(&[(container(1), usage(1, 50))]).1, 1);
        let mut news = |complaints: &[Complaint]| node.0.complained(UID, complaints);
        assert!(news(&complaint("a")));
        assert!(!news(&complaint("a")));
        assert!(news(&complaint("b")));
        assert!(!news(&[]));
        assert!(news(&complaint("b")));
    }

    #[test]
    fn remembered_pods_are_bounded() {
        let mut node = Node::new(true);
        let many: Vec<(Key, Usage)> = (0..2000_u64)
            .map(|n| {
                let path = format!("/kubepods/pod6a4ce4a0-ba47-11ea-b2a7-{n:012x}/{n:064x}");
                (Key::new(&path, n), usage(1, 60))
            })
            .collect();
        assert_eq!(node.pass(&many).1, PODS);
        assert_eq!(node.0.pods.len(), PODS);
    }
}
