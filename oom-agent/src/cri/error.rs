use std::time::Duration;

use super::Socket;

/// Why the runtime told nothing of a container. `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CriError {
    /// `--cri-endpoint` is no socket.
    #[error("expected unix:///path/to/a.sock or an absolute path")]
    Endpoint,
    /// The call failed.
    #[error("CRI call {call} on {socket} failed: {message} ({code:?})")]
    Call {
        /// The RPC.
        call: &'static str,
        /// Where.
        socket: Socket,
        /// gRPC's word for it.
        code: tonic::Code,
        /// Whether it was the runtime that said so, not the connection to it.
        reached: bool,
        /// What the runtime or the connection says.
        message: String,
    },
    /// It did not answer in time.
    #[error("the runtime on {socket} did not answer within {patience:?}")]
    Slow {
        /// Where.
        socket: Socket,
        /// How long it was given.
        patience: Duration,
    },
    /// No container runtime that can be asked speaks there.
    #[error("the socket {socket} has no CRI v1: {speaks}")]
    Foreign {
        /// Where.
        socket: Socket,
        /// What speaks there.
        speaks: &'static str,
    },
    /// It has no such container.
    #[error("the runtime on {socket} does not know this container")]
    NotFound {
        /// Where.
        socket: Socket,
    },
}
