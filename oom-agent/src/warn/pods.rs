use std::collections::HashMap;
use std::sync::Arc;

use super::annotations::{Complaint, Policy};

/// Pods whose annotations are remembered: as many as containers are watched, and some that went.
pub(super) const PODS: usize = 1024;

/// Pods that are asked for in one pass, of those whose containers are far from their limits.
pub(super) const AT_ONCE: usize = 32;

/// After a lookup that failed, or found no room, the next.
const ASK_AGAIN_NS: u64 = 30_000_000_000;

/// Of a pod with a container near its limit, annotations are known for so long at most.
const RENEW_NS: u64 = 300_000_000_000;

/// What was found out of a pod.
#[derive(Clone, Debug)]
pub enum Known {
    /// Its marks, annotations heeded.
    Policy(Arc<Policy>),
    /// Nothing, for now: the node's hold.
    Nothing,
}

/// A pod to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What the node calls it.
    pub uid: String,
    /// What it is annotated with now, not when it was made: a container of it comes near its limit.
    pub now: bool,
}

/// What is known of pods. Bounded.
#[derive(Default)]
pub(super) struct Pods(HashMap<String, Pod>);

struct Pod {
    known: Option<Known>,
    asked_ns: u64,
    /// How it was asked for.
    now: bool,
    failed: bool,
    complaints: Vec<Complaint>,
}

// === impl Pods ===

impl Pods {
    /// `None` while a first lookup is under way. One that is due is added to `ask`.
    pub(super) fn look(
        &mut self,
        uid: &str,
        near: bool,
        now_ns: u64,
        ask: &mut Vec<Ask>,
    ) -> Option<Known> {
        if let Some(pod) = self.0.get_mut(uid) {
            if pod.is_due(near, now_ns) {
                pod.now = near;
                pod.asked_ns = now_ns;
                ask.push(Ask::new(uid, near));
            }
            return pod.known.clone();
        }
        if self.0.len() >= PODS {
            self.0
                .retain(|_, pod| now_ns.saturating_sub(pod.asked_ns) < RENEW_NS);
        }
        if self.0.len() >= PODS {
            return Some(Known::Nothing);
        }
        // Whoever is near comes first; the others come with one of the next passes.
        if near || ask.len() < AT_ONCE {
            ask.push(Ask::new(uid, near));
            let pod = Pod {
                known: None,
                asked_ns: now_ns,
                now: near,
                failed: false,
                complaints: Vec::new(),
            };
            self.0.insert(uid.to_owned(), pod);
        }
        None
    }

    /// A lookup has come to its end; one that failed leaves what was known.
    pub(super) fn known(&mut self, uid: &str, known: Known) -> Known {
        let Some(pod) = self.0.get_mut(uid) else {
            return known;
        };
        pod.failed = matches!(known, Known::Nothing);
        match &pod.known {
            Some(before @ Known::Policy(_)) if pod.failed => before.clone(),
            _ => pod.known.insert(known).clone(),
        }
    }

    /// True where that is news.
    pub(super) fn complained(&mut self, uid: &str, complaints: &[Complaint]) -> bool {
        let Some(pod) = self.0.get_mut(uid) else {
            return false;
        };
        let news = pod.complaints != complaints;
        pod.complaints = complaints.to_vec();
        news && !complaints.is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

// === impl Pod ===

impl Pod {
    fn is_due(&self, near: bool, now_ns: u64) -> bool {
        let age = now_ns.saturating_sub(self.asked_ns);
        match self.known {
            Some(Known::Policy(_)) if self.failed => near && age >= ASK_AGAIN_NS,
            Some(Known::Policy(_)) => near && (!self.now || age >= RENEW_NS),
            Some(Known::Nothing) | None => age >= ASK_AGAIN_NS,
        }
    }
}

// === impl Ask ===

impl Ask {
    fn new(uid: &str, now: bool) -> Self {
        Self {
            uid: uid.to_owned(),
            now,
        }
    }
}

// === impl Known ===

impl Known {
    pub(super) fn marks(&self, node: &Arc<Policy>) -> Arc<Policy> {
        match self {
            Self::Policy(marks) => Arc::clone(marks),
            Self::Nothing => Arc::clone(node),
        }
    }
}
