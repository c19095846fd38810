use std::time::Duration;

use serde::Serialize;

use super::expression::Figures;
use super::mark::Mark;
use crate::Usage;

/// When to warn of a container.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where it begins to be too near its limit; `None`: never.
    pub warning: Option<Mark>,
    /// Where it is about to be killed; `None`: never.
    pub critical: Option<Mark>,
    /// A level is told again no sooner, whether it was left meanwhile or not.
    pub cooldown: Duration,
    /// How many points of the limit below its mark a level is left.
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
    /// Which; the higher one where it has come to both.
    pub level: Level,
    /// What was seen.
    pub usage: Usage,
    /// Until the limit is reached at the present slope, where it is one.
    pub forecast: Option<Duration>,
    /// It has been there since the last one: a reminder after the cooldown.
    pub again: bool,
}

/// What is remembered of one container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    level: Option<Level>,
    /// It has come to the level, and that was not told yet.
    untold: bool,
    /// When each level was told: `CLOCK_MONOTONIC`, in ns.
    warned: Option<u64>,
    alarmed: Option<u64>,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            warning: Some(Mark::Percent(75.0)),
            critical: Some(Mark::Percent(90.0)),
            cooldown: Duration::from_secs(30),
            hysteresis: 5.0,
        }
    }
}

impl Settings {
    fn reached(&self, figures: &Figures, margin: impl Fn(Level) -> f64) -> Option<Level> {
        let at = |mark: Option<&Mark>, level| {
            mark.is_some_and(|mark| mark.reached(figures, margin(level)))
        };
        // Whatever an expression is over: no limit, no warning.
        figures.usage.limit?;
        if at(self.critical.as_ref(), Level::Critical) {
            Some(Level::Critical)
        } else {
            at(self.warning.as_ref(), Level::Warning).then_some(Level::Warning)
        }
    }

    /// Where that level begins; `None`: never.
    pub fn mark(&self, level: Level) -> Option<&Mark> {
        match level {
            Level::Warning => self.warning.as_ref(),
            Level::Critical => self.critical.as_ref(),
        }
    }

    /// Whether whoever comes to the warning has come to the critical mark before.
    pub fn never_warns(&self) -> bool {
        match (&self.warning, &self.critical) {
            (Some(Mark::Percent(warning)), Some(Mark::Percent(critical)))
            | (Some(Mark::WorkingSet(warning)), Some(Mark::WorkingSet(critical))) => {
                warning >= critical
            }
            _ => false,
        }
    }

    /// Whether the working set has to be read for it.
    pub fn needs_working_set(&self) -> bool {
        self.marks().any(Mark::needs_working_set)
    }

    /// Whether the processes' scores have to be read for it.
    pub fn needs_scores(&self) -> bool {
        self.marks().any(Mark::needs_scores)
    }

    fn marks(&self) -> impl Iterator<Item = &Mark> {
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

// === impl Watch ===

impl Watch {
    /// Takes one look; the time is that of `figures.usage`.
    pub fn look(
        &mut self,
        settings: &Settings,
        figures: &Figures,
        forecast: Option<Duration>,
    ) -> Option<Crossing> {
        let before = self.level;
        let held = |level| {
            if before >= Some(level) {
                settings.hysteresis
            } else {
                0.0
            }
        };
        self.level = settings.reached(figures, held);
        let now = figures.usage.at_ns;
        if self.level > before {
            self.untold = true;
        } else if self.level < before {
            // The way down is no news; a reminder of the lower level is due a cooldown from here.
            self.untold = false;
            if self.level == Some(Level::Warning) {
                self.warned = Some(now);
            }
        }
        // Within the hysteresis it is still at the level, and nothing is to be told.
        let level = settings.reached(figures, |_| 0.0)?;
        let told = match level {
            _ if self.level > Some(level) => return None,
            Level::Warning => &mut self.warned,
            Level::Critical => &mut self.alarmed,
        };
        let cool = told.is_none_or(|told| {
            u128::from(now.saturating_sub(told)) >= settings.cooldown.as_nanos()
        });
        if !cool {
            return None;
        }
        *told = Some(now);
        Some(Crossing {
            level,
            usage: figures.usage,
            forecast,
            again: !std::mem::take(&mut self.untold),
        })
    }

    /// Nothing came of that crossing: the next is due so soon, or after the cooldown where that is sooner.
    pub fn undone(&mut self, crossing: &Crossing, settings: &Settings, again: Duration) {
        let rest = settings.cooldown.saturating_sub(again);
        let rest = u64::try_from(rest.as_nanos()).unwrap_or(u64::MAX);
        let told = Some(crossing.usage.at_ns.saturating_sub(rest));
        match crossing.level {
            Level::Warning => self.warned = told,
            Level::Critical => self.alarmed = told,
        }
        self.untold |= !crossing.again;
    }

    /// Where it is now.
    pub fn level(&self) -> Option<Level> {
        self.level
    }
}
