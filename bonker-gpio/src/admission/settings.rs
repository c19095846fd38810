//! Settings of the admission.

use std::time::Duration;

use super::filter::Filter;
use super::quiet::QuietHours;
use super::rate::PeerRate;
use crate::bonk::Severity;

/// A snooze that was forgotten ends by itself.
pub(crate) const MAX_SNOOZE: Duration = Duration::from_hours(7 * 24);

/// The default is the command line's, too.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Items of the same container are added to a swing for so long; zero turns it off.
    pub window: Duration,
    /// Jobs that may wait.
    pub queue: usize,
    /// Age at which a cause is too old to swing for.
    pub expire: Duration,
    /// Pause between two swings.
    pub cooldown: Duration,
    pub peer_rate: PeerRate,
    /// Milder bonks do not swing.
    pub min_severity: Severity,
    pub filter: Filter,
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
