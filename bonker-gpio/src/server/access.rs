//! Who gets through to the services.

use std::time::Duration;

use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::{Request, Status};
use tracing::warn;

use crate::auth::Token;
use crate::bounds::Throttle;
use crate::port::PortLimits;
use crate::tls::Acceptor;

/// When an idle stream of bonks ends, if nothing else is said.
const IDLE_TIMEOUT: Duration = Duration::from_hours(12);

/// Who may come in, how many, and for how long.
pub struct Access {
    /// Plaintext or TLS, for gRPC.
    pub grpc: Acceptor,
    /// Plaintext or TLS, for the web side.
    pub http: Acceptor,
    /// Demanded of every call but those of health, and of who acts on the web side.
    pub token: Option<Token>,
    /// It is demanded of who watches the page, too.
    pub private: bool,
    /// Bounds the connections of gRPC, and per peer the open streams, too.
    pub limits: PortLimits,
    /// A stream of bonks without one for this long is ended, with the status OK.
    pub idle_timeout: Duration,
}

/// Lets calls with the right token through.
#[derive(Clone)]
pub(super) struct Key {
    token: Option<Token>,
    refused: Throttle,
}

// === impl Access ===

/// In plaintext for everybody.
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

impl Access {
    pub(super) fn key(&self) -> Key {
        Key {
            token: self.token.clone(),
            refused: Throttle::default(),
        }
    }
}

impl Interceptor for Key {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(token) = &self.token else {
            return Ok(request);
        };
        let shown = request.metadata().get("authorization");
        if token.admits(shown.map(MetadataValue::as_bytes)) {
            return Ok(request);
        }
        if let Some(times) = self.refused.count() {
            let peer = request.remote_addr().map(|peer| peer.to_string());
            let peer = peer.unwrap_or_default();
            let shown = shown.is_some();
            warn!(peer, shown, times, "refused a call without the right token");
        }
        Err(Status::unauthenticated(match shown {
            None => "this bonker demands its token: give the client --token-file",
            Some(_) => {
                "this is not the token of this bonker: compare the client's --token-file with \
                 the server's"
            }
        }))
    }
}
