//! What the admin port answers.

use std::sync::{Arc, Mutex, PoisonError};

use service::clock;
use tokio::net::TcpListener;
use tracing_appender::non_blocking::ErrorCounter;

use crate::admin::{self, Answer, Asked};
use crate::metrics::{CONTENT_TYPE, Metrics, Readings};

/// What keeps somebody from his work just now, so that it is said once, and to whoever asks.
#[derive(Clone, Default)]
pub(super) struct Trouble(Arc<Mutex<Option<String>>>);

/// All that the answers are made of.
#[derive(Clone)]
pub(super) struct Health {
    pub(super) metrics: Arc<Metrics>,
    pub(super) log: ErrorCounter,
    /// The lease's, and the pods'.
    pub(super) troubles: [Trouble; 2],
}

// === impl Trouble ===

impl Trouble {
    /// It is that; true if it was not before.
    pub(super) fn is(&self, trouble: &str) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = held.as_deref() != Some(trouble);
        *held = Some(trouble.to_owned());
        new
    }

    pub(super) fn over(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn get(&self) -> Option<String> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.clone()
    }
}

// === impl Health ===

impl Health {
    /// Until it is dropped.
    pub(super) async fn serve(self, listener: TcpListener) {
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, "metrics and health are served");
        }
        let evicted = self.metrics.connections_evicted.clone();
        let answer = move |asked| std::future::ready(self.answer(asked));
        admin::serve(listener, answer, || {
            evicted.inc();
        })
        .await;
    }

    fn answer(&self, asked: Asked) -> Answer {
        match asked {
            // The thread that would hang is the one that answers.
            Asked::Live => Answer::Yes,
            Asked::Ready => self
                .troubles
                .iter()
                .find_map(Trouble::get)
                .map_or(Answer::Yes, Answer::No),
            Asked::Metrics => {
                self.metrics.read(Readings {
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
