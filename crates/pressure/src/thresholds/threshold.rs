use std::fmt;
use std::str::FromStr;

use super::error::{ExpressionError, ExpressionErrorKind};
use super::expression::Expression;
use super::variables::Variables;
use crate::Sample;

/// Where a level begins: a percentage of the limit, or an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Threshold {
    /// That many percent of the limit: of `memory.current`, as `OOMHero` has it. Never without a limit.
    Percent(f64),
    /// The same of the working set, which leaves out what the kernel reclaims for nothing.
    WorkingSet(f64),
    /// Where this is true.
    Expression(Expression),
}

// === impl Threshold ===

impl FromStr for Threshold {
    type Err = ExpressionError;

    /// `75`, `75%`, or an expression.
    fn from_str(text: &str) -> Result<Self, ExpressionError> {
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
            Ok(_) if digits => Err(ExpressionError {
                text: text.to_owned(),
                at: 1,
                kind: ExpressionErrorKind::Percentage,
            }),
            _ => text.parse().map(Self::Expression),
        }
    }
}

impl Threshold {
    /// As [`FromStr`], but a percentage is of the working set.
    pub fn parse_working_set(text: &str) -> Result<Self, ExpressionError> {
        Ok(match text.parse()? {
            Self::Percent(percent) => Self::WorkingSet(percent),
            other => other,
        })
    }

    /// What is compared with it, in percent of the limit; 0 without one.
    pub fn measure(&self, sample: &Sample) -> f64 {
        self.ratio(sample).unwrap_or_default() * 100.0
    }

    fn ratio(&self, sample: &Sample) -> Option<f64> {
        match self {
            Self::Percent(_) | Self::Expression(_) => sample.ratio(),
            Self::WorkingSet(_) => sample.working_set_ratio(),
        }
    }

    /// Whether the level is reached; a margin in points of the limit makes that easier.
    pub(super) fn is_reached(&self, variables: &Variables, margin: f64) -> bool {
        match self {
            Self::Percent(percent) | Self::WorkingSet(percent) => self
                .ratio(&variables.sample)
                .is_some_and(|ratio| ratio * 100.0 + margin >= *percent),
            Self::Expression(expression) => {
                expression.is_true(variables)
                    || (margin > 0.0 && expression.is_true(&variables.add_points(margin)))
            }
        }
    }

    pub(super) fn needs_working_set(&self) -> bool {
        matches!(self, Self::WorkingSet(_))
            || matches!(self, Self::Expression(expression) if expression.needs_working_set())
    }

    pub(super) fn needs_scores(&self) -> bool {
        matches!(self, Self::Expression(expression) if expression.needs_scores())
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent} %"),
            Self::WorkingSet(percent) => write!(f, "{percent} % (working set)"),
            Self::Expression(expression) => expression.fmt(f),
        }
    }
}
