//! An error and all its causes in one line.

use std::error::Error;
use std::fmt;

/// Shows `error: cause: cause of that`, without a cause whose text is part of its parent's.
pub fn chain(error: &dyn Error) -> impl fmt::Display + '_ {
    Chain(error)
}

struct Chain<'a>(&'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.0.to_string();
        f.write_str(&last)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !last.contains(&text) {
                write!(f, ": {text}")?;
            }
            last = text;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Outer(&'static str, #[source] io::Error);

    #[test]
    fn a_repeated_cause_is_shown_once() {
        let cause = || io::Error::other("no such thing");
        let shown = |error: Outer| chain(&error).to_string();
        assert_eq!(
            shown(Outer("cannot do it", cause())),
            "cannot do it: no such thing"
        );
        assert_eq!(
            shown(Outer("cannot do it: no such thing", cause())),
            "cannot do it: no such thing"
        );
    }
}
