//! An expression over what is known of a container's memory: every value is a number, and true from 1 on.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use exmex::{BinOp, Express as _, FlatEx, MakeOperators, Operator};
use service::escape;

use super::scan;
use crate::{Pressure, Stall, Usage};

/// What an expression is over, mostly in the names that `OOMHero` has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// What is used of how much.
    pub usage: Usage,
    /// The container's processes, as the OOM killer ranks them.
    pub scores: Scores,
}

/// `/proc/PID/oom_score` and `oom_score_adj`: `proc_pid_oom_score(5)`. Of several processes, the worst's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scores {
    /// 0 to 2000.
    pub oom_score: i32,
    /// -1000 to 1000.
    pub oom_score_adj: i32,
}

/// Compiled once.
#[derive(Clone, Debug)]
pub struct Expression {
    text: String,
    /// It is large, and many containers share it.
    compiled: Arc<FlatEx<f64, Operators>>,
    /// Of the variables in it, in the order that `compiled` takes them.
    names: Vec<usize>,
}

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}, at character {at} of: {}", escape::terminal(escape::truncate(.text, 256)))]
pub struct BadExpression {
    /// As it was given.
    pub text: String,
    /// Which character is wrong, from 1 on.
    pub at: usize,
    /// What is.
    pub what: Mistake,
}

/// What is wrong in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mistake {
    /// It ends where a value has to be.
    #[error("a number or a name is missing at the end")]
    Ends,
    /// Something else is where a value has to be.
    #[error("expected a number, a name or `(`, found `{}`", escape::terminal(.0))]
    NoValue(String),
    /// It begins like a number.
    #[error("`{}` is no number", escape::terminal(.0))]
    NoNumber(String),
    /// Nothing is called that.
    #[error(
        "nothing is called `{}`; there are memory_usage, memory_current, memory_max, memory_working_set_usage, oom_score, oom_score_adj and {{memory,io,cpu}}_pressure_{{some,full}}_{{avg10,avg60,avg300,total}}",
        escape::terminal(.0)
    )]
    NoName(String),
    /// Two values stand beside each other.
    #[error(
        "expected `)` or one of && || > >= < <= == != + - * / % ^, found `{}`",
        escape::terminal(.0)
    )]
    NoOperator(String),
    /// A closing parenthesis too many.
    #[error("this `)` closes nothing")]
    NotOpened,
    /// One too few.
    #[error("this `(` is not closed")]
    NotClosed,
    /// It is longer than that, in bytes.
    #[error("longer than {0} bytes")]
    TooLong(usize),
    /// Its parentheses are deeper than that.
    #[error("more than {0} parentheses within each other")]
    TooDeep(usize),
    /// It is no percentage of a limit.
    #[error("a percentage of the limit is above 0 and at most 100")]
    Percentage,
    /// It stands as it should, and yet it was not understood.
    #[error("not understood: {0}")]
    Compiler(String),
}

/// The names, in the order of [`Figures::numbers`].
pub(super) const NAMES: [&str; COUNT] = [
    "memory_usage",
    "memory_current",
    "memory_max",
    "oom_score",
    "oom_score_adj",
    "memory_pressure_some_avg10",
    "memory_pressure_some_avg60",
    "memory_pressure_some_avg300",
    "memory_pressure_some_total",
    "memory_pressure_full_avg10",
    "memory_pressure_full_avg60",
    "memory_pressure_full_avg300",
    "memory_pressure_full_total",
    "io_pressure_some_avg10",
    "io_pressure_some_avg60",
    "io_pressure_some_avg300",
    "io_pressure_some_total",
    "io_pressure_full_avg10",
    "io_pressure_full_avg60",
    "io_pressure_full_avg300",
    "io_pressure_full_total",
    "cpu_pressure_some_avg10",
    "cpu_pressure_some_avg60",
    "cpu_pressure_some_avg300",
    "cpu_pressure_some_total",
    "cpu_pressure_full_avg10",
    "cpu_pressure_full_avg60",
    "cpu_pressure_full_avg300",
    "cpu_pressure_full_total",
    "memory_working_set_usage",
];
const COUNT: usize = 30;
const PRESSURE: usize = 5;
/// In percent of the limit, as `memory_usage`; ours.
const WORKING_SET: usize = 29;
const OOM_SCORE: [usize; 2] = [3, 4];

// === impl Expression ===

impl FromStr for Expression {
    type Err = BadExpression;

    fn from_str(text: &str) -> Result<Self, BadExpression> {
        let bad = |(byte, what)| {
            let before = text.get(..byte).unwrap_or(text);
            BadExpression {
                text: text.to_owned(),
                at: before.chars().count().saturating_add(1),
                what,
            }
        };
        // Written over several lines of a manifest, as `OOMHero` takes it; all stands where it stood.
        let line = text.replace(['\n', '\r', '\t'], " ");
        scan::check(&line).map_err(bad)?;
        let not_understood =
            |error: &dyn fmt::Display| bad((0, Mistake::Compiler(error.to_string())));
        let compiled: FlatEx<f64, Operators> =
            FlatEx::parse(&line).map_err(|error| not_understood(&error))?;
        let index = |name: &String| NAMES.iter().position(|known| known == name);
        let names: Option<Vec<usize>> = compiled.var_names().iter().map(index).collect();
        Ok(Self {
            text: text.to_owned(),
            names: names.ok_or_else(|| not_understood(&"a name"))?,
            compiled: Arc::new(compiled),
        })
    }
}

impl Expression {
    /// Whether it is true: 1 or more, as with `OOMHero`.
    pub fn holds(&self, figures: &Figures) -> bool {
        let numbers = figures.numbers();
        let value = |name: &usize| numbers.get(*name).copied().unwrap_or_default();
        let values: Vec<f64> = self.names.iter().map(value).collect();
        // Not a number, as of 0 / 0, is not true.
        self.compiled.eval(&values).is_ok_and(|value| value >= 1.0)
    }

    /// Whether it asks for the working set.
    pub fn needs_working_set(&self) -> bool {
        self.names.contains(&WORKING_SET)
    }

    /// Whether it asks for the processes' scores.
    pub fn needs_scores(&self) -> bool {
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

// === impl Figures ===

impl Figures {
    /// Without a limit its memory is 0, as with `OOMHero`; pressure is 0 where it is not known.
    fn numbers(&self) -> [f64; COUNT] {
        let mut numbers = [0.0; COUNT];
        let Usage {
            limit,
            current,
            psi,
            ..
        } = self.usage;
        if let (Some(limit), Some(ratio)) = (limit, self.usage.ratio()) {
            let memory = [ratio * 100.0, float(current), float(limit)];
            put(&mut numbers, 0, memory);
        }
        if let Some(ratio) = self.usage.working_set_ratio() {
            put(&mut numbers, WORKING_SET, [ratio * 100.0]);
        }
        let scores = [self.scores.oom_score, self.scores.oom_score_adj];
        put(&mut numbers, OOM_SCORE[0], scores.map(f64::from));
        if let Some(Pressure { memory, io, cpu }) = psi {
            let stalls = [memory, io, cpu].into_iter().flat_map(stalled);
            put(&mut numbers, PRESSURE, stalls);
        }
        numbers
    }

    /// The same with so many points of the limit more in use.
    pub(super) fn raised(mut self, points: f64) -> Self {
        let limit = self.usage.limit.map_or(0.0, float);
        let more = (limit * points / 100.0).max(0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and a cast saturates"
        )]
        let more = more as u64;
        self.usage.current = self.usage.current.saturating_add(more);
        self.usage.working_set = self.usage.working_set.saturating_add(more);
        self
    }
}

fn put(numbers: &mut [f64; COUNT], from: usize, values: impl IntoIterator<Item = f64>) {
    for (number, value) in numbers.iter_mut().skip(from).zip(values) {
        *number = value;
    }
}

fn stalled(stall: Stall) -> impl Iterator<Item = f64> {
    [stall.some, stall.full].into_iter().flat_map(|of| {
        let percent = |hundredths: u32| f64::from(hundredths) / 100.0;
        [
            percent(of.avg10.0),
            percent(of.avg60.0),
            percent(of.avg300.0),
            float(of.total_us),
        ]
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "bytes of memory and µs of waiting stay below 2^53"
)]
fn float(number: u64) -> f64 {
    number as f64
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
