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

/// What is spoken inside of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC.
    Http2,
    /// Browsers and webhooks.
    Http1,
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

    /// Shows the certificate of `files`, and demands one of its clients where they have a
    /// CA of clients.
    pub fn new(files: &TlsFiles, protocol: Protocol) -> Result<Self, TlsError> {
        let mut config: ServerConfig = load::config(files)?;
        config.alpn_protocols = match protocol {
            Protocol::Http2 => vec![b"h2".to_vec()],
            Protocol::Http1 => vec![b"http/1.1".to_vec()],
        };
        // Clients stay for days: nothing is kept for the next time.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self {
            tls: Some(TlsAcceptor::from(Arc::new(config))),
            failed: Throttle::default(),
        })
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
