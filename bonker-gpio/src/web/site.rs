//! What every route shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use super::hook::{MAX_HOOKS, MAX_HOOKS_PER_PEER};
use super::page::MAX_LISTENERS;
use crate::arm::{Arm, Backend};
use crate::bounds::{Peers, Places, Throttle};
use crate::desk::DeskHandle;
use crate::metrics::HookCounts;
use crate::motion::{Gesture, Pose};

/// The state of the routes. Cheap to clone; clones share it.
#[derive(Clone)]
pub(crate) struct Site {
    pub(super) desk: DeskHandle,
    pub(super) backend: Backend,
    /// Nobody presses a button without the server's token.
    pub(super) locked: bool,
    /// How each gesture looks.
    pub(super) poses: Arc<[(Gesture, Vec<Pose>)]>,
    /// Of the pages that listen.
    pub(super) listeners: Places,
    /// Responses that have no end of their own end with this.
    pub(super) stopping: CancellationToken,
    /// Bodies of the hook that are on their way.
    pub(super) hooks: Places,
    /// And whose they are.
    pub(super) hook_peers: Peers,
    pub(super) hooks_refused: Throttle,
    pub(super) hook_counts: HookCounts,
    booted: Arc<AtomicBool>,
}

// === impl Site ===

impl Site {
    pub(crate) fn new(arm: &Arm, locked: bool, stopping: CancellationToken) -> Self {
        Self {
            desk: arm.desk(),
            locked,
            backend: arm.backend().clone(),
            poses: arm.poses().into(),
            listeners: Places::new("event streams", MAX_LISTENERS),
            stopping,
            hooks: Places::new("payloads of the hook", MAX_HOOKS),
            hook_peers: Peers::new("payloads of the hook", MAX_HOOKS_PER_PEER),
            hooks_refused: Throttle::default(),
            hook_counts: HookCounts::default(),
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
