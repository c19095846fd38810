//! The admin port's answers.

use std::sync::Arc;

use parking_lot::Mutex;
use service::clock;
use service::error_chain::chain;
use tokio::net::TcpListener;
use tracing_appender::non_blocking::ErrorCounter;

use crate::admin::{self, Answer, Endpoint};
use crate::k8s::ApiError;
use crate::metrics::{Metrics, Readings};

/// The failure that stops a task now: logged once, and the reason of `/ready`'s refusal.
#[derive(Clone, Default)]
pub(super) struct CurrentFailure(Arc<Mutex<Option<String>>>);

#[derive(Clone)]
pub(super) struct Health {
    pub(super) metrics: Arc<Metrics>,
    pub(super) log: ErrorCounter,
    /// Of the lease, and of the pods.
    pub(super) failures: [CurrentFailure; 2],
}

// === impl CurrentFailure ===

impl CurrentFailure {
    /// Logs it at warn if it differs from the one before. `attempt` is what failed: `cannot …`.
    pub(super) fn record(&self, error: &ApiError, attempt: &str) {
        let error = chain(error).to_string();
        let mut held = self.0.lock();
        if held.as_ref() == Some(&error) {
            tracing::debug!(error, "still: {attempt}");
        } else {
            tracing::warn!(error, "{attempt}; retrying");
        }
        *held = Some(error);
    }

    pub(super) fn clear(&self) {
        *self.0.lock() = None;
    }
}

// === impl Health ===

impl Health {
    pub(super) async fn serve(self, listener: TcpListener) {
        let evicted = self.metrics.connections_evicted.clone();
        let answer = move |endpoint| std::future::ready(self.answer(endpoint));
        admin::serve(listener, answer, evicted).await;
    }

    fn answer(&self, endpoint: Endpoint) -> Answer {
        match endpoint {
            // If the thread hung, it would not answer.
            Endpoint::Live => Answer::Yes,
            Endpoint::Ready => self
                .failures
                .iter()
                .find_map(|failure| failure.0.lock().clone())
                .map_or(Answer::Yes, Answer::No),
            Endpoint::Metrics => {
                self.metrics.external.update(|| Readings {
                    log_lines_dropped: self.log.dropped_lines() as u64,
                    ..Readings::default()
                });
                self.metrics.encode(clock::monotonic_ns()).into()
            }
        }
    }
}
