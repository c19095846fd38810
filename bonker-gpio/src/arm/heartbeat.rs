//! Whether the arm's task answers.

use tokio::sync::{mpsc, oneshot};

/// Asks the arm's task. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Heartbeat(mpsc::Sender<oneshot::Sender<()>>);

/// The arm's side: each asks to be answered.
pub(super) type Asked = mpsc::Receiver<oneshot::Sender<()>>;

// === impl Heartbeat ===

impl Heartbeat {
    pub(super) fn new() -> (Self, Asked) {
        // One asks: the watchdog.
        let (ask, asked) = mpsc::channel(1);
        (Self(ask), asked)
    }

    /// True once the task answers, which it does between two swings; false once it has stopped.
    pub async fn beats(&self) -> bool {
        let (sender, answered) = oneshot::channel();
        self.0.send(sender).await.is_ok() && answered.await.is_ok()
    }
}
