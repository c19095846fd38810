//! The annotations of pods: the API server's, else the container runtime's.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use service::clock;
use service::error_chain::chain;

use super::Warner;
use crate::cri::Sandbox;
use crate::k8s::LookupError;
use crate::warn::{BadAnnotations, PodLookup, Policy};

/// The outcome of a lookup.
pub(super) struct Found {
    pub(super) uid: String,
    /// `None`: it cannot be read, and the node's own holds.
    pub(super) policy: Option<Arc<Policy>>,
    pub(super) errors: Option<BadAnnotations>,
}

// === impl Warner ===

impl Warner {
    /// A pod's policy. Never fails.
    pub(super) async fn look_up(self: Arc<Self>, lookup: PodLookup) -> Found {
        let PodLookup { uid, current } = lookup;
        let counts = &self.node.metrics.warnings;
        let Some(Sandbox { pod, annotations }) = self.read_annotations(&uid, current).await else {
            counts.unanswered.inc();
            return Found {
                uid,
                policy: None,
                errors: None,
            };
        };
        counts.answered.inc();
        let (policy, errors) = self.policy.apply_annotations(&annotations);
        let host = &self.node.host;
        let errors = (!errors.is_empty()).then(|| BadAnnotations {
            id: format!("{}-{}-annotations", host.boot, clock::monotonic_ns()),
            time: Timestamp::now(),
            node: host.node.clone(),
            pod,
            errors,
        });
        Found {
            uid,
            policy: Some(Arc::new(policy)),
            errors,
        }
    }

    /// The pod's sandbox, with the annotations that the pod has now, if `current` ones can be read.
    async fn read_annotations(&self, uid: &str, current: bool) -> Option<Sandbox> {
        let log = |error: &dyn Error| tracing::debug!(uid, error = %chain(error), "a pod's annotations cannot be read");
        let runtimes = self.node.enricher.runtimes.find().await;
        let found = runtimes.find_sandbox(uid).await?;
        let mut sandbox = found.inspect_err(|error| log(error)).ok()?;
        if let Some(reader) = self.node.pods.get().filter(|_| current) {
            match reader.annotations(&sandbox.pod).await {
                Ok(annotations) => sandbox.annotations = annotations,
                // What was known before is newer than what the runtime has.
                Err(LookupError::Call(error)) => {
                    log(&error);
                    return None;
                }
                Err(error) => self.log_refusal(&error),
            }
        }
        Some(sandbox)
    }

    /// Once at level warn, as a missing right lasts.
    fn log_refusal(&self, error: &LookupError) {
        let refused = matches!(error, LookupError::Forbidden);
        if refused && !self.refused.swap(true, Ordering::Relaxed) {
            tracing::warn!(error = %chain(error), "the annotations that the pod was made with are used");
        } else {
            tracing::debug!(error = %chain(error), "the annotations that the pod was made with are used");
        }
    }
}
