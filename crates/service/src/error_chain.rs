//! An error and all its causes in one line.

use std::error::Error;
use std::fmt;

/// Shows `error: cause: cause of that`; a cause that its parent repeats is said once.
pub fn chain(error: &dyn Error) -> impl fmt::Display + '_ {
    Chain(error)
}

struct Chain<'a>(&'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !said.contains(&text) {
                write!(f, ": {text}")?;
            }
            said = text;
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
    fn every_cause_is_said_once() {
        let cause = || io::Error::other("no such thing");
        let said = |error: Outer| chain(&error).to_string();
        assert_eq!(
            said(Outer("cannot do it", cause())),
            "cannot do it: no such thing"
        );
        assert_eq!(
            said(Outer("cannot do it: no such thing", cause())),
            "cannot do it: no such thing"
        );
    }
}
