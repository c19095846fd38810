//! A connection that becomes TLS as it is read and written: whoever accepts it waits for
//! nobody's handshake.

use std::io::{self, IoSlice};
use std::mem;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::{FallibleAccept, TlsStream};
use tracing::{debug, warn};

use super::{answer, explain};
use crate::bounds::Throttle;
use crate::report::chain;

/// A handshake is over after this, or the connection is.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);

/// As much of a peer's first words as tells its protocol.
const FIRST_WORDS: usize = 3;

/// What goes over the wire is plaintext or TLS; what is read and written here is always
/// plaintext.
pub struct Stream {
    state: State,
}

enum State {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
    Young(Box<Young>),
    Failed,
}

/// Until the handshake is over.
struct Young {
    stage: Stage,
    peer: SocketAddr,
    late: Pin<Box<Sleep>>,
    failed: Throttle,
}

enum Stage {
    /// Nothing is known of the peer yet.
    Fresh(TcpStream, TlsAcceptor),
    Shaking(Box<FallibleAccept<TcpStream>>),
    /// The peer has its answer, and gets the time to read it: closing at once, with some of
    /// its words unread, would have the kernel reset the connection and drop the answer.
    Refused(TcpStream, io::Error),
    Over,
}

// === impl Stream ===

impl Stream {
    pub(super) fn new(
        tcp: TcpStream,
        peer: SocketAddr,
        tls: Option<TlsAcceptor>,
        failed: Throttle,
    ) -> Self {
        let state = match tls {
            None => State::Plain(tcp),
            Some(tls) => State::Young(Box::new(Young {
                stage: Stage::Fresh(tcp, tls),
                peer,
                late: Box::pin(sleep(HANDSHAKE_DEADLINE)),
                failed,
            })),
        };
        Self { state }
    }

    #[cfg(test)]
    pub(crate) fn tcp(&self) -> Option<&TcpStream> {
        match &self.state {
            State::Plain(tcp) => Some(tcp),
            State::Secure(tls) => Some(tls.get_ref().0),
            State::Young(_) | State::Failed => None,
        }
    }

    /// Ready once it can be read and written.
    fn poll_grown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let State::Young(young) = &mut self.state else {
            return Poll::Ready(Ok(()));
        };
        let grown = match young.late.as_mut().poll(cx) {
            Poll::Ready(()) => Err(young.too_late()),
            Poll::Pending => ready!(young.poll(cx)),
        };
        match grown {
            Ok(tls) => {
                self.state = State::Secure(Box::new(tls));
                Poll::Ready(Ok(()))
            }
            Err(why) => {
                self.state = State::Failed;
                Poll::Ready(Err(why))
            }
        }
    }
}

// === impl Young ===

impl Young {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<TlsStream<TcpStream>>> {
        loop {
            self.stage = match mem::replace(&mut self.stage, Stage::Over) {
                Stage::Fresh(tcp, tls) => {
                    let mut said = [0; FIRST_WORDS];
                    let mut words = ReadBuf::new(&mut said);
                    let peeked = tcp.poll_peek(cx, &mut words);
                    match peeked {
                        Poll::Pending => {
                            self.stage = Stage::Fresh(tcp, tls);
                            return Poll::Pending;
                        }
                        Poll::Ready(Err(why)) => return Poll::Ready(Err(why)),
                        // Somebody looked whether the port is open.
                        Poll::Ready(Ok(0)) => {
                            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                        }
                        Poll::Ready(Ok(_)) => (),
                    }
                    if words.filled().first() == Some(&answer::HANDSHAKE) {
                        Stage::Shaking(Box::new(tls.accept(tcp).into_fallible()))
                    } else {
                        // All of it fits into a fresh socket's buffer, or nobody reads.
                        let _ = tcp.try_write(&answer::to_plaintext(words.filled()));
                        let why = io::Error::other("the peer speaks no TLS");
                        self.refused(&why, "it was told to use https://");
                        Stage::Refused(tcp, why)
                    }
                }
                Stage::Shaking(mut accept) => match Pin::new(&mut accept).poll(cx) {
                    Poll::Ready(Ok(tls)) => return Poll::Ready(Ok(tls)),
                    Poll::Ready(Err((why, tcp))) => {
                        self.refused(&why, explain::hint(&why));
                        if explain::failure(&why).is_none() {
                            // Nobody is there to read.
                            return Poll::Ready(Err(why));
                        }
                        Stage::Refused(tcp, why)
                    }
                    Poll::Pending => {
                        self.stage = Stage::Shaking(accept);
                        return Poll::Pending;
                    }
                },
                Stage::Refused(mut tcp, why) => {
                    if poll_deaf(&mut tcp, cx).is_pending() {
                        self.stage = Stage::Refused(tcp, why);
                        return Poll::Pending;
                    }
                    return Poll::Ready(Err(why));
                }
                Stage::Over => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            };
        }
    }

    fn refused(&self, why: &io::Error, hint: &'static str) {
        let peer = self.peer;
        if let Some(times) = self.failed.count() {
            warn!(%peer, error = chain(why), hint, times, "no TLS with a peer");
        } else {
            debug!(%peer, error = chain(why), hint, "no TLS with a peer");
        }
    }

    fn too_late(&self) -> io::Error {
        let why = io::Error::from(io::ErrorKind::TimedOut);
        if !matches!(self.stage, Stage::Refused(..)) {
            self.refused(&why, "it did not finish its handshake in time");
        }
        why
    }
}

/// Says that nothing more comes, and waits for the peer to say so, too.
fn poll_deaf(tcp: &mut TcpStream, cx: &mut Context<'_>) -> Poll<()> {
    if ready!(Pin::new(&mut *tcp).poll_shutdown(cx)).is_err() {
        return Poll::Ready(());
    }
    loop {
        let mut unheard = [0; 1024];
        let mut unheard = ReadBuf::new(&mut unheard);
        let read = ready!(Pin::new(&mut *tcp).poll_read(cx, &mut unheard));
        if read.is_err() || unheard.filled().is_empty() {
            return Poll::Ready(());
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_grown(cx))?;
        match &mut self.state {
            State::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            State::Secure(tls) => Pin::new(tls).poll_read(cx, buf),
            State::Young(_) | State::Failed => gone(),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_grown(cx))?;
        match &mut self.state {
            State::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            State::Secure(tls) => Pin::new(tls).poll_write(cx, buf),
            State::Young(_) | State::Failed => gone(),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_grown(cx))?;
        match &mut self.state {
            State::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            State::Secure(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
            State::Young(_) | State::Failed => gone(),
        }
    }

    /// Both kinds are.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            State::Secure(tls) => Pin::new(tls).poll_flush(cx),
            // Nothing was taken yet that could be flushed.
            State::Young(_) | State::Failed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            State::Secure(tls) => Pin::new(tls).poll_shutdown(cx),
            State::Young(_) | State::Failed => Poll::Ready(Ok(())),
        }
    }
}

fn gone<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
}
