//! Errors of the history.

use std::io;

#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("cannot {attempt} {path}: check that the bonker's user may write there (--state)")]
    Directory {
        /// Completes "cannot …".
        attempt: &'static str,
        path: String,
        source: io::Error,
    },
    #[error(
        "another bonker-gpio keeps its history in {path}: stop it, or give this one a directory \
         of its own (--state)"
    )]
    InUse { path: String },
    /// The database was written by a later version, or another program.
    #[error("cannot open the history {path}")]
    Open {
        path: String,
        source: Box<redb::Error>,
    },
    #[error("cannot start the thread that writes the history")]
    Thread(#[source] io::Error),
}
