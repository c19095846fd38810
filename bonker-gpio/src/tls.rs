//! TLS on a port: which files it takes, and the handshake.
//!
//! TLS 1.3 only: every client of a bonker is younger than it.

mod answer;
mod explain;
mod load;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::bounds::Throttle;
pub use load::{TlsError, TlsFiles};
pub use stream::{HANDSHAKE_DEADLINE, Stream};

/// Makes [`Stream`]s of accepted connections. Cheap to clone; clones share the count of
/// handshakes that failed.
#[derive(Clone)]
pub struct Acceptor {
    tls: Option<TlsAcceptor>,
    failed: Throttle,
}

// === impl Acceptor ===

impl Acceptor {
    /// Leaves connections as they are.
    pub fn plaintext() -> Self {
        Self {
            tls: None,
            failed: Throttle::default(),
        }
    }

    /// One for gRPC and one for HTTP, which show the certificate of `files`. Where the files
    /// have a CA of clients, gRPC demands a certificate of it; browsers and webhooks have none.
    pub fn pair(files: &TlsFiles) -> Result<(Self, Self), TlsError> {
        let (grpc, http) = load::configs(files)?;
        Ok((Self::new(grpc, b"h2"), Self::new(http, b"http/1.1")))
    }

    fn new(mut config: ServerConfig, protocol: &[u8]) -> Self {
        config.alpn_protocols = vec![protocol.to_vec()];
        // Clients stay for days: nothing is kept for the next time.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Self {
            tls: Some(TlsAcceptor::from(Arc::new(config))),
            failed: Throttle::default(),
        }
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        match self.tls {
            Some(_) => "https",
            None => "http",
        }
    }

    /// Waits for nothing: the handshake is driven by reading and writing.
    pub fn accept(&self, tcp: TcpStream, peer: SocketAddr) -> Stream {
        Stream::new(tcp, peer, self.tls.clone(), self.failed.clone())
    }
}
