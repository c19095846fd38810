//! The annotations of pods: the API server's, else the container runtime's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use service::clock;
use service::error_chain::chain;

use crate::enrich::Enricher;
use crate::host::Host;
use crate::k8s::{LookupError, PodReader};
use crate::metrics::WarningCounts;
use crate::warn::{BadAnnotations, PodLookup, PodPolicy, Policy};

pub(super) struct PodAnnotations {
    host: Host,
    node: Policy,
    enricher: Arc<Enricher>,
    /// Set once there is an API server.
    reader: Arc<OnceLock<PodReader>>,
    refused: AtomicBool,
    counts: WarningCounts,
}

/// The outcome of a lookup.
pub(super) struct Found {
    pub(super) uid: String,
    pub(super) policy: PodPolicy,
    pub(super) bad: Option<BadAnnotations>,
}

// === impl PodAnnotations ===

impl PodAnnotations {
    pub(super) fn new(
        host: &Host,
        node: Policy,
        enricher: &Arc<Enricher>,
        reader: &Arc<OnceLock<PodReader>>,
        counts: &WarningCounts,
    ) -> Self {
        Self {
            host: host.clone(),
            node,
            enricher: Arc::clone(enricher),
            reader: Arc::clone(reader),
            refused: AtomicBool::new(false),
            counts: counts.clone(),
        }
    }

    /// A pod's policy. Never fails: where it cannot be read the node's own holds.
    pub(super) async fn look_up(self: Arc<Self>, lookup: PodLookup) -> Found {
        let PodLookup { uid, current } = lookup;
        let unknown = |uid| Found {
            uid,
            policy: PodPolicy::Unknown,
            bad: None,
        };
        let sandbox = match self.enricher.runtimes.find().await.find_sandbox(&uid).await {
            Some(Ok(sandbox)) => sandbox,
            None => {
                self.counts.unanswered.inc();
                return unknown(uid);
            }
            Some(Err(error)) => {
                self.counts.unanswered.inc();
                tracing::debug!(uid, error = %chain(&error), "a pod's annotations cannot be read");
                return unknown(uid);
            }
        };
        let annotations = match self.reader.get().filter(|_| current) {
            Some(reader) => match reader.annotations(&sandbox.pod).await {
                Ok(annotations) => annotations,
                // What was known before is newer than what the runtime has.
                Err(LookupError::Call(error)) => {
                    self.counts.unanswered.inc();
                    tracing::debug!(uid, error = %chain(&error), "a pod's annotations cannot be read");
                    return unknown(uid);
                }
                Err(error) => {
                    self.log_refusal(&error);
                    sandbox.annotations
                }
            },
            None => sandbox.annotations,
        };
        self.counts.answered.inc();
        let (policy, errors) = self.node.apply_annotations(&annotations);
        let bad = (!errors.is_empty()).then(|| BadAnnotations {
            id: format!("{}-{}-annotations", self.host.boot, clock::monotonic_ns()),
            time: Timestamp::now(),
            node: self.host.node.clone(),
            pod: sandbox.pod,
            errors,
        });
        Found {
            uid,
            policy: PodPolicy::Known(Arc::new(policy)),
            bad,
        }
    }

    /// Once at level warn, as a missing right lasts.
    fn log_refusal(&self, error: &LookupError) {
        let refused = matches!(error, LookupError::Forbidden);
        if refused && !self.refused.swap(true, Ordering::Relaxed) {
            tracing::warn!(error = %chain(error), "annotations are heeded as they were when the pod was made");
        } else {
            tracing::debug!(error = %chain(error), "annotations are heeded as they were when the pod was made");
        }
    }
}
