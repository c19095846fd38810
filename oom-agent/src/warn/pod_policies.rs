use std::collections::HashMap;
use std::sync::Arc;

use super::policy::{AnnotationError, Policy};

/// Pods whose policies are kept: as many as containers are sampled, and some that went.
pub(super) const PODS: usize = 1024;

/// Lookups in one sweep, of pods whose containers are far from their limits.
pub(super) const AT_ONCE: usize = 32;

/// After a lookup that failed, or found no room, the next.
const RETRY_NS: u64 = 30_000_000_000;

/// Of a pod with a container near its limit, annotations are known for so long at most.
const RENEW_NS: u64 = 300_000_000_000;

/// A pod whose annotations are to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodLookup {
    pub(crate) uid: String,
    /// Those that it has now, not when it was made: a container of it is near its limit.
    pub(crate) current: bool,
}

/// The policies of pods. Bounded.
#[derive(Default)]
pub(super) struct PodPolicies(HashMap<String, Pod>);

#[derive(Default)]
struct Pod {
    /// With its annotations applied; `None` until a lookup has succeeded.
    policy: Option<Arc<Policy>>,
    looked_up_ns: u64,
    /// Of the last lookup.
    current: bool,
    failed: bool,
    errors: Vec<AnnotationError>,
}

// === impl PodPolicies ===

impl PodPolicies {
    /// The pod's policy, else the `node`'s; `None` while a first lookup is under way. One that is due is
    /// added to `lookups`.
    pub(super) fn get(
        &mut self,
        uid: &str,
        near: bool,
        now_ns: u64,
        node: &Arc<Policy>,
        lookups: &mut Vec<PodLookup>,
    ) -> Option<Arc<Policy>> {
        let lookup = || PodLookup {
            uid: uid.to_owned(),
            current: near,
        };
        if let Some(pod) = self.0.get_mut(uid) {
            if pod.is_due(near, now_ns) {
                pod.current = near;
                pod.looked_up_ns = now_ns;
                lookups.push(lookup());
            }
            let node = pod.failed.then_some(node);
            return pod.policy.as_ref().or(node).cloned();
        }
        if self.0.len() >= PODS {
            self.0
                .retain(|_, pod| now_ns.saturating_sub(pod.looked_up_ns) < RENEW_NS);
        }
        if self.0.len() >= PODS {
            return Some(Arc::clone(node));
        }
        // Pods near their limits come first; the others come with one of the next sweeps.
        if near || lookups.len() < AT_ONCE {
            lookups.push(lookup());
            let pod = Pod {
                looked_up_ns: now_ns,
                current: near,
                ..Pod::default()
            };
            self.0.insert(uid.to_owned(), pod);
        }
        None
    }

    /// Keeps what a lookup has found; one that failed leaves what was known. Gives what holds now: `None` is
    /// the node's policy.
    pub(super) fn set(&mut self, uid: &str, found: Option<Arc<Policy>>) -> Option<Arc<Policy>> {
        let Some(pod) = self.0.get_mut(uid) else {
            return found;
        };
        pod.failed = found.is_none();
        pod.policy = found.or_else(|| pod.policy.take());
        pod.policy.clone()
    }

    /// True where these are new.
    pub(super) fn set_errors(&mut self, uid: &str, errors: &[AnnotationError]) -> bool {
        let Some(pod) = self.0.get_mut(uid) else {
            return false;
        };
        let are_new = pod.errors != errors;
        pod.errors = errors.to_vec();
        are_new && !errors.is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

// === impl Pod ===

impl Pod {
    fn is_due(&self, near: bool, now_ns: u64) -> bool {
        let age = now_ns.saturating_sub(self.looked_up_ns);
        match self.policy {
            Some(_) if self.failed => near && age >= RETRY_NS,
            Some(_) => near && (!self.current || age >= RENEW_NS),
            None => age >= RETRY_NS,
        }
    }
}
