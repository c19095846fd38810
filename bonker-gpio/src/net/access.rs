//! Which peers are let in.

use std::time::Duration;

use super::auth::Token;
use super::port::PortLimits;
use super::tls::Acceptor;

/// Long enough for an agent on a node without kills.
const IDLE_TIMEOUT: Duration = Duration::from_hours(12);

pub struct Access {
    /// Plaintext or TLS, for gRPC.
    pub grpc: Acceptor,
    /// Plaintext or TLS, for HTTP.
    pub http: Acceptor,
    /// Required for all calls but those of health, and for all actions over HTTP.
    pub token: Option<Token>,
    /// Requires the token to watch the page, too.
    pub private: bool,
    /// For connections of gRPC, and for open streams of each peer.
    pub limits: PortLimits,
    /// A stream of bonks that is idle for so long is ended with the status OK.
    pub idle_timeout: Duration,
}

// === impl Access ===

/// In plaintext, for everybody.
impl Default for Access {
    fn default() -> Self {
        Self {
            grpc: Acceptor::plaintext(),
            http: Acceptor::plaintext(),
            token: None,
            private: false,
            limits: PortLimits::default(),
            idle_timeout: IDLE_TIMEOUT,
        }
    }
}
