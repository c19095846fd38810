//! Whether the arm's task answers.

use tokio::sync::{mpsc, oneshot};

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Heartbeat(mpsc::Sender<oneshot::Sender<()>>);

/// Each wants an answer from the arm's task.
pub(crate) type Requests = mpsc::Receiver<oneshot::Sender<()>>;

// === impl Heartbeat ===

impl Heartbeat {
    pub(crate) fn new() -> (Self, Requests) {
        // The watchdog alone sends requests, one at a time.
        let (sender, requests) = mpsc::channel(1);
        (Self(sender), requests)
    }

    /// True when the task answers, which it does between two swings; false once it has stopped.
    pub(crate) async fn beat(&self) -> bool {
        let (sender, answer) = oneshot::channel();
        self.0.send(sender).await.is_ok() && answer.await.is_ok()
    }
}
