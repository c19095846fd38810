//! An expression over a container's memory: every value is a number, and true from 1 on.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use exmex::{BinOp, Express as _, FlatEx, MakeOperators, Operator};

use super::error::{ExpressionError, ExpressionErrorKind};
use super::scan;
use super::variables::{OOM_SCORE, Variables, WORKING_SET, find_variable};

/// Compiled once.
#[derive(Clone, Debug)]
pub struct Expression {
    text: String,
    /// It is large, and many containers share it.
    compiled: Arc<FlatEx<f64, Operators>>,
    /// Of the variables in it, in the order that `compiled` takes them.
    names: Vec<usize>,
}

// === impl Expression ===

impl FromStr for Expression {
    type Err = ExpressionError;

    fn from_str(text: &str) -> Result<Self, ExpressionError> {
        let error_at = |(byte, kind)| {
            let before = text.get(..byte).unwrap_or(text);
            ExpressionError {
                text: text.to_owned(),
                at: before.chars().count().saturating_add(1),
                kind,
            }
        };
        // Over several lines of a manifest, as `OOMHero` takes it; positions stay.
        let line = text.replace(['\n', '\r', '\t'], " ");
        scan::check_syntax(&line).map_err(error_at)?;
        let not_understood = |error: &dyn fmt::Display| {
            error_at((0, ExpressionErrorKind::Compiler(error.to_string())))
        };
        let compiled: FlatEx<f64, Operators> =
            FlatEx::parse(&line).map_err(|error| not_understood(&error))?;
        let names = compiled.var_names().iter();
        let names: Option<Vec<usize>> = names.map(|name| find_variable(name)).collect();
        Ok(Self {
            text: text.to_owned(),
            names: names.ok_or_else(|| not_understood(&"a name"))?,
            compiled: Arc::new(compiled),
        })
    }
}

impl Expression {
    /// 1 or more is true, as with `OOMHero`.
    pub(super) fn is_true(&self, variables: &Variables) -> bool {
        let all = variables.values();
        let value = |name: &usize| all.get(*name).copied().unwrap_or_default();
        let values: Vec<f64> = self.names.iter().map(value).collect();
        // Not a number, as of 0 / 0, is not true.
        self.compiled.eval(&values).is_ok_and(|value| value >= 1.0)
    }

    pub(super) fn needs_working_set(&self) -> bool {
        self.names.contains(&WORKING_SET)
    }

    pub(super) fn needs_scores(&self) -> bool {
        self.names.iter().any(|name| OOM_SCORE.contains(name))
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

fn truth(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

/// `fasteval`'s operators, which `OOMHero` has: all on numbers.
#[derive(Clone, Debug)]
struct Operators;

impl MakeOperators<f64> for Operators {
    fn make<'a>() -> Vec<Operator<'a, f64>> {
        let op = |apply: fn(f64, f64) -> f64, prio: i64, is_commutative: bool| BinOp {
            apply,
            prio,
            is_commutative,
        };
        vec![
            Operator::make_bin("||", op(|a, b| truth(a != 0.0 || b != 0.0), 0, true)),
            Operator::make_bin("&&", op(|a, b| truth(a != 0.0 && b != 0.0), 1, true)),
            Operator::make_bin(
                "==",
                op(|a, b| truth((a - b).abs() < f64::EPSILON), 2, true),
            ),
            Operator::make_bin(
                "!=",
                op(|a, b| truth((a - b).abs() >= f64::EPSILON), 2, true),
            ),
            Operator::make_bin(">=", op(|a, b| truth(a >= b), 3, false)),
            Operator::make_bin("<=", op(|a, b| truth(a <= b), 3, false)),
            Operator::make_bin(">", op(|a, b| truth(a > b), 3, false)),
            Operator::make_bin("<", op(|a, b| truth(a < b), 3, false)),
            Operator::make_bin("+", op(|a, b| a + b, 4, true)),
            Operator::make_bin_unary("-", op(|a, b| a - b, 4, false), |a| -a),
            Operator::make_bin("*", op(|a, b| a * b, 5, true)),
            Operator::make_bin("/", op(|a, b| a / b, 5, false)),
            Operator::make_bin("%", op(|a, b| a % b, 5, false)),
            Operator::make_bin("^", op(f64::powf, 6, false)),
            Operator::make_unary("!", |a| truth(a == 0.0)),
        ]
    }
}
