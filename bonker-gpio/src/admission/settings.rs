//! What the owner wants.

use std::time::Duration;

use super::filter::Filter;
use super::quiet::QuietHours;
use super::rate::PeerRate;
use crate::bonk::Severity;

/// The longest snooze: who forgets it finds the penguin awake again.
pub(crate) const MAX_SNOOZE: Duration = Duration::from_hours(7 * 24);

/// How the desk decides. The default is the command line's, too.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long after a swing items of its place are added to it; zero: nothing coalesces.
    pub window: Duration,
    /// How many jobs may wait.
    pub queue: usize,
    /// How old a cause may get before it is too late to swing.
    pub expire: Duration,
    /// How long the arm rests between two swings.
    pub cooldown: Duration,
    /// What each peer may send.
    pub peer_rate: PeerRate,
    /// What is milder than this moves nothing.
    pub min_severity: Severity,
    /// Which namespaces and labels may bonk.
    pub filter: Filter,
    /// When nothing swings.
    pub quiet: QuietHours,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(10),
            queue: 64,
            expire: Duration::from_mins(5),
            cooldown: Duration::ZERO,
            peer_rate: PeerRate::default(),
            min_severity: Severity::Warning,
            filter: Filter::default(),
            quiet: QuietHours::default(),
        }
    }
}
