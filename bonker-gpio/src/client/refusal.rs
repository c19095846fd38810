//! A call's status, for people.

use std::error::Error;
use std::fmt;

use tonic::{Code, Status};

use crate::text::escape;

/// Unlike the status itself, its `Display` leaves out the source, and escapes what the other side
/// wrote.
#[derive(Debug)]
pub(crate) struct Refusal(Box<Status>);

// === impl Refusal ===

impl Refusal {
    pub(super) fn code(&self) -> Code {
        self.0.code()
    }

    /// The connection failed before an answer.
    pub(super) fn is_transport(&self) -> bool {
        self.0.source().is_some()
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self(Box::new(status))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = escape(self.0.message());
        if self.is_transport() && !message.is_empty() {
            // The code was made up on this side.
            return f.write_str(&message);
        }
        write!(f, "{:?}", self.0.code())?;
        if message.is_empty() {
            return Ok(());
        }
        write!(f, ": {message}")
    }
}

impl Error for Refusal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::Refusal;
    use service::error_chain::chain;

    #[test]
    fn the_other_sides_text_is_escaped() {
        let refusal = Refusal::from(Status::unavailable("\x1b[2Jno"));
        assert!(!refusal.is_transport());
        assert_eq!(chain(&refusal).to_string(), "Unavailable: \\u{1b}[2Jno");
    }

    #[test]
    fn a_broken_connection_shows_its_chain() {
        let broken = std::io::Error::other("broken pipe");
        let refusal = Refusal::from(Status::from_error(Box::new(broken)));
        assert!(refusal.is_transport());
        assert_eq!(chain(&refusal).to_string(), "broken pipe");
    }
}
