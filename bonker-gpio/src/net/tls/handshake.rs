//! The handshake of TLS, and the answer to a peer that speaks something else.

use std::io;
use std::net::SocketAddr;

use service::error_chain::chain;
use tokio::io::{AsyncWriteExt as _, copy, sink};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tracing::{debug, warn};

use super::{Acceptor, answer, explain};

/// Bytes of a peer's first message that show its protocol.
const FIRST_BYTES: usize = 3;

/// Plaintext or TLS.
pub(crate) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

enum Failure {
    Gone,
    /// The peer has an answer, and gets the time to read it: if the socket were closed with
    /// unread input, the kernel would reset the connection and drop the answer.
    Answered(TcpStream),
}

impl Acceptor {
    /// `None`, and a log line, if the peer does not finish its handshake by `deadline`.
    pub(crate) async fn open(
        &self,
        tcp: TcpStream,
        peer: SocketAddr,
        deadline: Instant,
    ) -> Option<Stream> {
        let Some(tls) = &self.tls else {
            return Some(Either::Left(tcp));
        };
        match timeout_at(deadline, self.shake_hands(tls, tcp, peer)).await {
            Ok(Ok(stream)) => return Some(Either::Right(Box::new(stream))),
            Ok(Err(Failure::Gone)) => (),
            Ok(Err(Failure::Answered(tcp))) => {
                let _ = timeout_at(deadline, discard_input(tcp)).await;
            }
            Err(_) => {
                let why = io::ErrorKind::TimedOut.into();
                self.log_failure(peer, &why, "it did not finish its handshake in time");
            }
        }
        None
    }

    async fn shake_hands(
        &self,
        tls: &TlsAcceptor,
        mut tcp: TcpStream,
        peer: SocketAddr,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let mut first = [0; FIRST_BYTES];
        let count = tcp.peek(&mut first).await.map_err(|_| Failure::Gone)?;
        let first = first.get(..count).unwrap_or_default();
        match first.first() {
            // A port scan.
            None => return Err(Failure::Gone),
            Some(&answer::HANDSHAKE) => (),
            Some(_) => {
                // All of it fits into a fresh socket's buffer.
                let _ = tcp.write_all(&answer::to_plaintext(first)).await;
                let why = io::Error::other("the peer speaks no TLS");
                self.log_failure(peer, &why, "the answer was: use https://");
                return Err(Failure::Answered(tcp));
            }
        }
        let accepted = tls.accept(tcp).into_fallible().await;
        accepted.map_err(|(why, tcp)| {
            self.log_failure(peer, &why, explain::hint(&why));
            match explain::failure(&why) {
                Some(_) => Failure::Answered(tcp),
                None => Failure::Gone,
            }
        })
    }

    fn log_failure(&self, peer: SocketAddr, why: &io::Error, hint: &'static str) {
        if let Some(times) = self.failed.count() {
            warn!(%peer, error = %chain(why), hint, times, "no TLS with a peer");
        } else {
            debug!(%peer, error = %chain(why), hint, "no TLS with a peer");
        }
    }
}

/// Closes this side and discards what comes until the peer closes its side.
async fn discard_input(mut tcp: TcpStream) -> io::Result<()> {
    tcp.shutdown().await?;
    copy(&mut tcp, &mut sink()).await.map(|_| ())
}
