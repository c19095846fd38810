//! Where an expression is not one: exmex tells what is wrong, but not always where.

use super::expression::{Mistake, NAMES};

/// The longest expression, in bytes, and how deep its parentheses may be: anybody who may annotate a
/// pod writes them.
const LEN: usize = 512;
const DEPTH: usize = 16;

/// Longest first, so that `>=` is not read as `>`.
const BINARY: [&str; 14] = [
    "&&", "||", ">=", "<=", "==", "!=", ">", "<", "+", "-", "*", "/", "%", "^",
];
const UNARY: [&str; 2] = ["!", "-"];

/// Goes through it once, and stops at the first thing that cannot stand where it stands. Gives the
/// byte it stopped at.
pub(super) fn check(text: &str) -> Result<(), (usize, Mistake)> {
    if text.len() > LEN {
        return Err((LEN, Mistake::TooLong(LEN)));
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
        let took = if first == ' ' {
            1
        } else if wants_value {
            if first == '(' {
                if open.len() >= DEPTH {
                    return Err((at, Mistake::TooDeep(DEPTH)));
                }
                open.push(at);
                1
            } else if let Some(len) = starts_with(&UNARY) {
                len
            } else {
                wants_value = false;
                value(rest).map_err(|mistake| (at, mistake))?
            }
        } else if first == ')' {
            open.pop().ok_or((at, Mistake::NotOpened))?;
            1
        } else {
            wants_value = true;
            starts_with(&BINARY).ok_or_else(|| (at, Mistake::NoOperator(word(rest))))?
        };
        at += took;
    }
    if wants_value {
        return Err((text.len(), Mistake::Ends));
    }
    match open.pop() {
        Some(at) => Err((at, Mistake::NotClosed)),
        None => Ok(()),
    }
}

/// How long the number or name is that this begins with.
fn value(rest: &str) -> Result<usize, Mistake> {
    let word = rest
        .split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.')))
        .next()
        .unwrap_or_default();
    if word.starts_with(|c: char| c.is_ascii_digit()) {
        let digits = word.chars().all(|c| c.is_ascii_digit() || c == '.');
        return match word.parse::<f64>() {
            Ok(_) if digits => Ok(word.len()),
            _ => Err(Mistake::NoNumber(word.to_owned())),
        };
    }
    if NAMES.contains(&word) {
        return Ok(word.len());
    }
    Err(if word.is_empty() {
        Mistake::NoValue(self::word(rest))
    } else {
        Mistake::NoName(word.to_owned())
    })
}

/// What stands there, for people.
fn word(rest: &str) -> String {
    rest.split(' ').next().unwrap_or_default().to_owned()
}
