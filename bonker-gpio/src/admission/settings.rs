//! Settings of the admission: what may bonk, when, and how often.

use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;

use super::filter::Filter;
use super::quiet::QuietHours;
use super::rate::PeerRate;
use crate::bonk::Severity;
use crate::duration::{YEAR, duration_within, format_duration};

/// A snooze that was forgotten ends by itself.
pub(crate) const MAX_SNOOZE: Duration = Duration::from_hours(7 * 24);

/// More jobs than this would swing for hours.
const MAX_QUEUE: u64 = 10_000;

#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Coalescing window: further kills of the same container only raise its counter; 0s turns it off
    #[arg(long, env = "BONKER_WINDOW", value_name = "TIME",
          default_value = format_duration(Self::default().window),
          value_parser = duration_within(Duration::ZERO, YEAR))]
    pub window: Duration,
    /// Most bonks that may wait for the servo
    #[arg(long, env = "BONKER_QUEUE", value_name = "NUMBER", default_value_t = Self::default().queue,
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_QUEUE))]
    pub queue: usize,
    /// Age at which a kill is too old to swing for
    #[arg(long, env = "BONKER_EXPIRE", value_name = "TIME",
          default_value = format_duration(Self::default().expire),
          value_parser = duration_within(Duration::from_nanos(1), YEAR))]
    pub expire: Duration,
    /// Pause between two swings
    #[arg(long, env = "BONKER_COOLDOWN", value_name = "TIME",
          default_value = format_duration(Self::default().cooldown),
          value_parser = duration_within(Duration::ZERO, YEAR))]
    pub cooldown: Duration,
    #[command(flatten)]
    pub quiet: QuietHours,
    #[command(flatten)]
    pub filter: Filter,
    /// Least severity that swings; milder bonks are only counted
    #[arg(long, env = "BONKER_MIN_SEVERITY", value_name = "SEVERITY",
          value_enum, default_value_t = Self::default().min_severity)]
    pub min_severity: Severity,
    #[command(flatten)]
    pub peer_rate: PeerRate,
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
