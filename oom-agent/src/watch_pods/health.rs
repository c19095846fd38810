//! The admin port's answers.

use std::sync::{Arc, Mutex, PoisonError};

use service::clock;
use tokio::net::TcpListener;
use tracing_appender::non_blocking::ErrorCounter;

use crate::admin::{self, Answer, Endpoint};
use crate::metrics::{CONTENT_TYPE, Metrics, Readings};

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
    /// True if it differs from the one before.
    pub(super) fn set(&self, failure: &str) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = held.as_deref() != Some(failure);
        *held = Some(failure.to_owned());
        new
    }

    pub(super) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn get(&self) -> Option<String> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.clone()
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
                .find_map(CurrentFailure::get)
                .map_or(Answer::Yes, Answer::No),
            Endpoint::Metrics => {
                self.metrics.external.update(|| Readings {
                    log_lines_dropped: self.log.dropped_lines() as u64,
                    ..Readings::default()
                });
                match self.metrics.encode(clock::monotonic_ns()) {
                    Ok(text) => Answer::Metrics {
                        content_type: CONTENT_TYPE,
                        text,
                    },
                    Err(_) => Answer::No("the metrics could not be written".to_owned()),
                }
            }
        }
    }
}
