//! TLS on a port: its files, and the handshake.
//!
//! TLS 1.3 only: every client of a bonker is younger than it.

mod answer;
mod explain;
mod handshake;
mod load;

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use tokio_rustls::TlsAcceptor;

use crate::net::limits::Throttle;
pub(crate) use load::TlsError;
pub use load::TlsFiles;

/// Cheap to clone; clones share the count of failed handshakes.
#[derive(Clone)]
pub struct Acceptor {
    tls: Option<TlsAcceptor>,
    failed: Throttle,
}

// === impl Acceptor ===

impl Acceptor {
    pub fn plaintext() -> Self {
        Self {
            tls: None,
            failed: Throttle::default(),
        }
    }

    /// One for gRPC and one for HTTP, both with the certificate of `files`. With a client CA,
    /// gRPC requires a client certificate; browsers and webhooks have none.
    pub fn pair(files: &TlsFiles) -> Result<(Self, Self), TlsError> {
        let (grpc, http) = load::load_configs(files)?;
        Ok((Self::new(grpc, b"h2"), Self::new(http, b"http/1.1")))
    }

    fn new(mut config: ServerConfig, protocol: &[u8]) -> Self {
        config.alpn_protocols = vec![protocol.to_vec()];
        // Clients stay for days: resumption is not worth its memory.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Self {
            tls: Some(TlsAcceptor::from(Arc::new(config))),
            failed: Throttle::default(),
        }
    }

    /// `http` or `https`.
    pub(crate) fn scheme(&self) -> &'static str {
        match self.tls {
            Some(_) => "https",
            None => "http",
        }
    }
}
