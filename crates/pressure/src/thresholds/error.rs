use service::escape;

/// A text is not an expression over [`Variables`](super::Variables).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}, at character {at} of: {}", escape::terminal(escape::truncate(.text, 256)))]
pub struct ExpressionError {
    pub(super) text: String,
    /// Which character is wrong, from 1 on.
    pub(super) at: usize,
    pub(super) kind: ExpressionErrorKind,
}

/// What is wrong in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ExpressionErrorKind {
    #[error("a number or a name is missing at the end")]
    Ends,
    #[error("expected a number, a name or `(`, found `{}`", escape::terminal(.0))]
    NoValue(String),
    #[error("`{}` is no number", escape::terminal(.0))]
    NoNumber(String),
    /// No variable has that name.
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
    #[error("this `)` closes nothing")]
    NotOpened,
    #[error("this `(` is not closed")]
    NotClosed,
    #[error("longer than {0} bytes")]
    TooLong(usize),
    #[error("more than {0} parentheses within each other")]
    TooDeep(usize),
    #[error("a percentage of the limit is above 0 and at most 100")]
    Percentage,
    /// `exmex` refuses what the scan has passed.
    #[error("not understood: {0}")]
    Compiler(String),
}
