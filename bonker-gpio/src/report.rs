//! Errors for people: each one and all it came from.

use std::error::Error;
use std::fmt::Write as _;

/// `error` and its sources, outermost first, joined by `: `. A source that only repeats
/// what was said before it is left out.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !said.ends_with(&words) {
            // Writing to a String cannot fail.
            let _ = write!(said, ": {words}");
        }
        next = cause.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::chain;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    #[test]
    fn the_whole_chain_is_told_once() {
        let inner = Layer("no such device", None);
        let middle = Layer("open failed: no such device", Some(Box::new(inner)));
        let outer = Layer("cannot start", Some(Box::new(middle)));
        assert_eq!(chain(&outer), "cannot start: open failed: no such device");
    }
}
