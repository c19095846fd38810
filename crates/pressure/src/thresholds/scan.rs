//! Finds where an expression is wrong: exmex names what is wrong, but not always where.

use super::error::ExpressionErrorKind;
use super::variables::find_variable;

/// The longest expression, in bytes, and the deepest parentheses: users who may annotate a pod write them.
const LEN: usize = 512;
const DEPTH: usize = 16;

/// Longest first, so that `>=` is not read as `>`.
const BINARY: [&str; 14] = [
    "&&", "||", ">=", "<=", "==", "!=", ">", "<", "+", "-", "*", "/", "%", "^",
];
const UNARY: [&str; 2] = ["!", "-"];

/// Goes through it once, and stops at the first thing that cannot stand where it stands. Gives the
/// byte it stopped at.
pub(super) fn check_syntax(text: &str) -> Result<(), (usize, ExpressionErrorKind)> {
    if text.len() > LEN {
        return Err((LEN, ExpressionErrorKind::TooLong(LEN)));
    }
    let mut open = Vec::new();
    let mut wants_value = true;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let first = rest.chars().next().unwrap_or(' ');
        let starts_with = |operators: &[&str]| {
            let found = operators.iter().find(|op| rest.starts_with(**op));
            found.map(|op| op.len())
        };
        let len = if first == ' ' {
            1
        } else if wants_value {
            if first == '(' {
                if open.len() >= DEPTH {
                    return Err((at, ExpressionErrorKind::TooDeep(DEPTH)));
                }
                open.push(at);
                1
            } else if let Some(len) = starts_with(&UNARY) {
                len
            } else {
                wants_value = false;
                measure_value(rest).map_err(|kind| (at, kind))?
            }
        } else if first == ')' {
            open.pop().ok_or((at, ExpressionErrorKind::NotOpened))?;
            1
        } else {
            wants_value = true;
            starts_with(&BINARY)
                .ok_or_else(|| (at, ExpressionErrorKind::NoOperator(first_word(rest))))?
        };
        at += len;
    }
    if wants_value {
        return Err((text.len(), ExpressionErrorKind::Ends));
    }
    match open.pop() {
        Some(at) => Err((at, ExpressionErrorKind::NotClosed)),
        None => Ok(()),
    }
}

/// The length of the number or name that this begins with.
fn measure_value(rest: &str) -> Result<usize, ExpressionErrorKind> {
    let word = rest
        .split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.')))
        .next()
        .unwrap_or_default();
    if word.starts_with(|c: char| c.is_ascii_digit()) {
        let digits = word.chars().all(|c| c.is_ascii_digit() || c == '.');
        return match word.parse::<f64>() {
            Ok(_) if digits => Ok(word.len()),
            _ => Err(ExpressionErrorKind::NoNumber(word.to_owned())),
        };
    }
    if find_variable(word).is_some() {
        return Ok(word.len());
    }
    Err(if word.is_empty() {
        ExpressionErrorKind::NoValue(first_word(rest))
    } else {
        ExpressionErrorKind::NoName(word.to_owned())
    })
}

fn first_word(rest: &str) -> String {
    rest.split(' ').next().unwrap_or_default().to_owned()
}
