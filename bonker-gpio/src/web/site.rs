//! What every route shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use crate::arm::ArmHandle;

/// The state of the routes. Cheap to clone; clones share it.
#[derive(Clone)]
pub(crate) struct Site {
    #[expect(dead_code, reason = "for the routes that ask the arm")]
    pub(super) arm: ArmHandle,
    /// Responses that have no end of their own end with this.
    pub(super) stopping: CancellationToken,
    booted: Arc<AtomicBool>,
}

// === impl Site ===

impl Site {
    pub(crate) fn new(arm: ArmHandle, stopping: CancellationToken) -> Self {
        Self {
            arm,
            stopping,
            booted: Arc::default(),
        }
    }

    /// The boot motion is done.
    pub(crate) fn booted(&self) {
        self.booted.store(true, Ordering::Relaxed);
    }

    /// The servo can be asked: it has booted, and nobody has said stop.
    pub(super) fn is_ready(&self) -> bool {
        self.booted.load(Ordering::Relaxed) && !self.stopping.is_cancelled()
    }
}
