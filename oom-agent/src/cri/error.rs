use std::time::Duration;

use super::Socket;

/// `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CriError {
    #[error("expected unix:///path/to/a.sock or an absolute path")]
    Endpoint,
    #[error("CRI call {call} on {socket} failed: {message} ({code:?})")]
    Call {
        call: &'static str,
        socket: Socket,
        code: tonic::Code,
        /// Whether the runtime answered; else the connection failed.
        reached: bool,
        message: String,
    },
    #[error("the runtime on {socket} did not answer within {limit:?}")]
    Timeout { socket: Socket, limit: Duration },
    #[error("the socket {socket} has no CRI v1: {speaks}")]
    Foreign {
        socket: Socket,
        /// What the socket speaks.
        speaks: &'static str,
    },
    #[error("the runtime on {socket} does not know this container")]
    NotFound { socket: Socket },
    /// With what the sockets that were found speak instead.
    #[error("no container runtime was found{0}")]
    NoRuntime(String),
}
