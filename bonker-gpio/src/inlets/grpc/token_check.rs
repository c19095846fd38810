//! Refuses calls without the token.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::{Request, Status};
use tracing::warn;

use crate::net::auth::Token;
use crate::net::limits::Throttle;

#[derive(Clone)]
pub(super) struct TokenCheck {
    token: Option<Token>,
    refused: Throttle,
}

// === impl TokenCheck ===

impl TokenCheck {
    /// Without a token, all calls pass.
    pub(super) fn new(token: Option<Token>) -> Self {
        Self {
            token,
            refused: Throttle::default(),
        }
    }
}

impl Interceptor for TokenCheck {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(token) = &self.token else {
            return Ok(request);
        };
        let shown = request.metadata().get("authorization");
        if token.admits(shown.map(MetadataValue::as_bytes)) {
            return Ok(request);
        }
        if let Some(times) = self.refused.count() {
            let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
            let (peer, shown) = (peer.map(|peer| peer.0), shown.is_some());
            warn!(
                ?peer,
                shown, times, "refused a call without the right token"
            );
        }
        Err(Status::unauthenticated(match shown {
            None => "this bonker requires its token: give the client --token-file",
            Some(_) => {
                "this is not the token of this bonker: compare the client's --token-file with \
                 the server's"
            }
        }))
    }
}
