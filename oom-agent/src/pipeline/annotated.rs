//! What pods ask for by their annotations: the API server's word, else the container runtime's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use service::clock;
use service::error_chain::chain;

use super::resolve::Resolver;
use crate::host::Host;
use crate::k8s::{LookupError, PodReader};
use crate::metrics::WarningCounts;
use crate::warn::{Ask, Known, PREFIX, Policy, Unheeded};

/// Looks pods up.
pub(super) struct Annotated {
    host: Host,
    node: Policy,
    resolver: Arc<Resolver>,
    /// Set once there is an API server.
    reader: Arc<OnceLock<PodReader>>,
    refused: AtomicBool,
    counts: WarningCounts,
}

/// What came of a lookup.
pub(super) struct Found {
    pub(super) uid: String,
    pub(super) known: Known,
    pub(super) unheeded: Option<Unheeded>,
}

// === impl Annotated ===

impl Annotated {
    pub(super) fn new(
        host: &Host,
        node: Policy,
        resolver: &Arc<Resolver>,
        reader: &Arc<OnceLock<PodReader>>,
        counts: &WarningCounts,
    ) -> Self {
        Self {
            host: host.clone(),
            node,
            resolver: Arc::clone(resolver),
            reader: Arc::clone(reader),
            refused: AtomicBool::new(false),
            counts: counts.clone(),
        }
    }

    /// What a pod asks for. Never fails: the node's own marks do for what cannot be had.
    pub(super) async fn look_up(self: Arc<Self>, ask: Ask) -> Found {
        let Ask { uid, now } = ask;
        let nothing = |uid| Found {
            uid,
            known: Known::Nothing,
            unheeded: None,
        };
        let sandbox = match self.resolver.runtimes.find().await.find_sandbox(&uid).await {
            Some(Ok(sandbox)) => sandbox,
            None => {
                self.counts.unanswered.inc();
                return nothing(uid);
            }
            Some(Err(error)) => {
                self.counts.unanswered.inc();
                tracing::debug!(uid, error = %chain(&error), "a pod's annotations cannot be had");
                return nothing(uid);
            }
        };
        let annotations = match self.reader.get().filter(|_| now) {
            Some(reader) => match reader.annotations(&sandbox.pod, PREFIX).await {
                Ok(annotations) => annotations,
                // What was known before is newer than what the runtime has.
                Err(LookupError::Call(error)) => {
                    self.counts.unanswered.inc();
                    tracing::debug!(uid, error = %chain(&error), "a pod's annotations cannot be had");
                    return nothing(uid);
                }
                Err(error) => {
                    self.say(&error);
                    sandbox.annotations
                }
            },
            None => sandbox.annotations,
        };
        self.counts.answered.inc();
        let (marks, complaints) = self.node.annotated(&annotations);
        let unheeded = (!complaints.is_empty()).then(|| Unheeded {
            id: format!("{}-{}-annotations", self.host.boot, clock::monotonic_ns()),
            time: Timestamp::now(),
            node: self.host.node.clone(),
            pod: sandbox.pod,
            complaints,
        });
        Found {
            uid,
            known: Known::Policy(Arc::new(marks)),
            unheeded,
        }
    }

    /// A missing right once; it lasts.
    fn say(&self, error: &LookupError) {
        let refused = matches!(error, LookupError::Forbidden);
        if refused && !self.refused.swap(true, Ordering::Relaxed) {
            tracing::warn!(error = %chain(error), "annotations are heeded as they were when the pod was made");
        } else {
            tracing::debug!(error = %chain(error), "annotations are heeded as they were when the pod was made");
        }
    }
}
