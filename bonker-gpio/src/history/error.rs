//! What can go wrong with the history.

use std::io;

/// Why there is no history, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The directory cannot be used.
    #[error("cannot {attempt} {path}: check that the bonker's user may write there (--state)")]
    Directory {
        /// What was tried: completes "cannot …".
        attempt: &'static str,
        /// The directory or file.
        path: String,
        /// The system's word on it.
        source: io::Error,
    },
    /// Another process has it open.
    #[error(
        "another bonker-gpio keeps its history in {path}: stop it, or give this one a directory \
         of its own (--state)"
    )]
    InUse {
        /// The database.
        path: String,
    },
    /// The database was written by a later version, or another program.
    #[error("cannot open the history {path}")]
    Open {
        /// The database.
        path: String,
        /// The database's word on it.
        source: Box<redb::Error>,
    },
    /// A transaction failed.
    #[error("cannot {attempt} the history")]
    Transaction {
        /// What was tried: completes "cannot …".
        attempt: &'static str,
        /// The database's word on it.
        source: Box<redb::Error>,
    },
    /// What was kept has another form than this version's.
    #[error("cannot make sense of what the history keeps as {what}")]
    Form {
        /// What it is.
        what: &'static str,
        /// The parser's word on it.
        source: serde_json::Error,
    },
    /// No thread for the writer.
    #[error("cannot start the thread that writes the history")]
    Thread(#[source] io::Error),
}
