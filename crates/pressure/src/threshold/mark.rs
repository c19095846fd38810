use std::fmt;
use std::str::FromStr;

use super::expression::{BadExpression, Expression, Figures, Mistake};
use crate::Usage;

/// Where a level begins.
#[derive(Clone, Debug, PartialEq)]
pub enum Mark {
    /// At that many percent of the limit: of `memory.current`, as `OOMHero` has it. Never without a limit.
    Percent(f64),
    /// The same of the working set, which leaves out what the kernel takes back for nothing.
    WorkingSet(f64),
    /// Where this is true.
    Expression(Expression),
}

// === impl Mark ===

impl FromStr for Mark {
    type Err = BadExpression;

    /// `75`, `75%`, or an expression.
    fn from_str(text: &str) -> Result<Self, BadExpression> {
        let trimmed = text.trim_ascii();
        let number = trimmed
            .strip_suffix('%')
            .unwrap_or(trimmed)
            .trim_ascii_end();
        let digits = number.starts_with(|c: char| c.is_ascii_digit());
        match number.parse() {
            Ok(percent) if digits && percent > 0.0 && percent <= 100.0 => {
                Ok(Self::Percent(percent))
            }
            Ok(_) if digits => Err(BadExpression {
                text: text.to_owned(),
                at: 1,
                what: Mistake::Percentage,
            }),
            _ => text.parse().map(Self::Expression),
        }
    }
}

impl Mark {
    /// As [`FromStr`], but that a percentage is of the working set.
    pub fn of_working_set(text: &str) -> Result<Self, BadExpression> {
        Ok(match text.parse()? {
            Self::Percent(percent) => Self::WorkingSet(percent),
            other => other,
        })
    }

    /// What is held against it, in percent of the limit; 0 without one.
    pub fn measured(&self, usage: &Usage) -> f64 {
        let ratio = match self {
            Self::Percent(_) | Self::Expression(_) => usage.ratio(),
            Self::WorkingSet(_) => usage.working_set_ratio(),
        };
        ratio.unwrap_or_default() * 100.0
    }

    /// Whether the level is reached; a margin in points of the limit makes that easier.
    pub fn reached(&self, figures: &Figures, margin: f64) -> bool {
        match self {
            Self::Percent(mark) => figures
                .usage
                .ratio()
                .is_some_and(|ratio| ratio * 100.0 + margin >= *mark),
            Self::WorkingSet(mark) => figures
                .usage
                .working_set_ratio()
                .is_some_and(|ratio| ratio * 100.0 + margin >= *mark),
            Self::Expression(expression) if margin > 0.0 => {
                expression.holds(figures) || expression.holds(&figures.raised(margin))
            }
            Self::Expression(expression) => expression.holds(figures),
        }
    }

    /// Whether the working set has to be read for it.
    pub fn needs_working_set(&self) -> bool {
        match self {
            Self::Percent(_) => false,
            Self::WorkingSet(_) => true,
            Self::Expression(expression) => expression.needs_working_set(),
        }
    }

    /// Whether the processes' scores have to be read for it.
    pub fn needs_scores(&self) -> bool {
        matches!(self, Self::Expression(expression) if expression.needs_scores())
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent} %"),
            Self::WorkingSet(percent) => write!(f, "{percent} % (working set)"),
            Self::Expression(expression) => expression.fmt(f),
        }
    }
}
