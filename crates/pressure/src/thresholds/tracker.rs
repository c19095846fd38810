use std::time::Duration;

use serde::Serialize;

use super::threshold::Threshold;
use super::variables::Variables;
use crate::Sample;

/// When a container has come to a level.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds {
    /// Too near its limit; `None`: never.
    pub warning: Option<Threshold>,
    /// About to be killed; `None`: never.
    pub critical: Option<Threshold>,
    /// The least time between two crossings of one level, whether it was left meanwhile or not.
    pub cooldown: Duration,
    /// How many points of the limit below its threshold a level ends.
    pub hysteresis: f64,
}

/// How near a container is to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Time to save memory.
    Warning,
    /// The last moment for it.
    Critical,
}

/// A container has come to a level, or is still there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crossing {
    /// The higher one where it has come to both.
    pub level: Level,
    /// What was measured.
    pub sample: Sample,
    /// Until the limit is reached at the present slope, where it grows.
    pub forecast: Option<Duration>,
    /// A reminder after the cooldown: it has been there since the last crossing.
    pub again: bool,
}

/// The level of one container, and when it was reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelTracker {
    level: Option<Level>,
    /// It has come to the level, and that was not reported yet.
    unreported: bool,
    /// When each level was reported: `CLOCK_MONOTONIC`, in ns.
    warning_ns: Option<u64>,
    critical_ns: Option<u64>,
}

// === impl Thresholds ===

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            warning: Some(Threshold::Percent(75.0)),
            critical: Some(Threshold::Percent(90.0)),
            cooldown: Duration::from_secs(30),
            hysteresis: 5.0,
        }
    }
}

impl Thresholds {
    fn level(&self, variables: &Variables, margin: impl Fn(Level) -> f64) -> Option<Level> {
        let at = |threshold: Option<&Threshold>, level| {
            threshold.is_some_and(|it| it.is_reached(variables, margin(level)))
        };
        // Not even by an expression: no limit, no warning.
        variables.sample.limit?;
        if at(self.critical.as_ref(), Level::Critical) {
            Some(Level::Critical)
        } else {
            at(self.warning.as_ref(), Level::Warning).then_some(Level::Warning)
        }
    }

    /// Where that level begins; `None`: never.
    pub fn threshold(&self, level: Level) -> Option<&Threshold> {
        match level {
            Level::Warning => self.warning.as_ref(),
            Level::Critical => self.critical.as_ref(),
        }
    }

    /// Whether the critical level begins before the warning.
    pub fn never_warns(&self) -> bool {
        match (&self.warning, &self.critical) {
            (Some(Threshold::Percent(warning)), Some(Threshold::Percent(critical)))
            | (Some(Threshold::WorkingSet(warning)), Some(Threshold::WorkingSet(critical))) => {
                warning >= critical
            }
            _ => false,
        }
    }

    /// Whether the working set has to be read.
    pub fn needs_working_set(&self) -> bool {
        self.all().any(Threshold::needs_working_set)
    }

    /// Whether the processes' scores have to be read.
    pub fn needs_scores(&self) -> bool {
        self.all().any(Threshold::needs_scores)
    }

    fn all(&self) -> impl Iterator<Item = &Threshold> {
        [&self.warning, &self.critical].into_iter().flatten()
    }
}

// === impl Level ===

impl Level {
    /// Both, the lower first.
    pub const ALL: [Self; 2] = [Self::Warning, Self::Critical];

    /// For people and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

// === impl LevelTracker ===

impl LevelTracker {
    /// Takes one measurement; the time is that of `variables.sample`.
    pub fn update(
        &mut self,
        thresholds: &Thresholds,
        variables: &Variables,
        forecast: Option<Duration>,
    ) -> Option<Crossing> {
        let before = self.level;
        let held = |level| {
            if before >= Some(level) {
                thresholds.hysteresis
            } else {
                0.0
            }
        };
        self.level = thresholds.level(variables, held);
        let now = variables.sample.at_ns;
        if self.level > before {
            self.unreported = true;
        } else if self.level < before {
            // The way down is not reported; a reminder of the lower level is due a cooldown from here.
            self.unreported = false;
            if self.level == Some(Level::Warning) {
                self.warning_ns = Some(now);
            }
        }
        // Within the hysteresis it is still at the level, which is not reported again.
        let level = thresholds.level(variables, |_| 0.0)?;
        if self.level > Some(level) {
            return None;
        }
        let reported_ns = self.reported_ns(level);
        let cool = reported_ns.is_none_or(|reported_ns| {
            u128::from(now.saturating_sub(reported_ns)) >= thresholds.cooldown.as_nanos()
        });
        if !cool {
            return None;
        }
        *reported_ns = Some(now);
        Some(Crossing {
            level,
            sample: variables.sample,
            forecast,
            again: !std::mem::take(&mut self.unreported),
        })
    }

    /// Nothing could be done about that crossing: it is due `again` so soon, or after the cooldown where
    /// that is sooner.
    pub fn retry(&mut self, crossing: &Crossing, thresholds: &Thresholds, again: Duration) {
        let rest = thresholds.cooldown.saturating_sub(again);
        let rest = u64::try_from(rest.as_nanos()).unwrap_or(u64::MAX);
        *self.reported_ns(crossing.level) = Some(crossing.sample.at_ns.saturating_sub(rest));
        self.unreported |= !crossing.again;
    }

    fn reported_ns(&mut self, level: Level) -> &mut Option<u64> {
        match level {
            Level::Warning => &mut self.warning_ns,
            Level::Critical => &mut self.critical_ns,
        }
    }

    /// Where it is now.
    pub fn level(&self) -> Option<Level> {
        self.level
    }
}
