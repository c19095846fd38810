//! A connection whose TLS handshake is driven by reads and writes, so that the task that accepts
//! connections waits for no peer.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use service::error_chain::chain;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::{FallibleAccept, TlsStream};
use tokio_util::either::Either;
use tracing::{debug, warn};

use super::{answer, explain};
use crate::net::limits::Throttle;

pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);

/// Bytes of a peer's first message that show its protocol.
const FIRST_BYTES: usize = 3;

/// Plaintext or TLS.
pub(crate) type Open = Either<TcpStream, Box<TlsStream<TcpStream>>>;

pub(crate) enum Stream {
    Open(Open),
    Handshake(Box<Handshake>),
    Failed,
}

pub(crate) struct Handshake {
    stage: Stage,
    peer: SocketAddr,
    deadline: Pin<Box<Sleep>>,
    failed: Throttle,
}

enum Stage {
    /// The peer has sent nothing.
    Fresh(TcpStream, TlsAcceptor),
    Shaking(Box<FallibleAccept<TcpStream>>),
    /// The peer has an answer, and gets the time to read it: if the socket were closed with
    /// unread input, the kernel would reset the connection and drop the answer.
    Refused(TcpStream, io::Error),
    Done,
}

// === impl Stream ===

impl Stream {
    pub(super) fn new(
        tcp: TcpStream,
        peer: SocketAddr,
        tls: Option<TlsAcceptor>,
        failed: Throttle,
    ) -> Self {
        match tls {
            None => Self::Open(Either::Left(tcp)),
            Some(tls) => Self::Handshake(Box::new(Handshake {
                stage: Stage::Fresh(tcp, tls),
                peer,
                deadline: Box::pin(sleep(HANDSHAKE_DEADLINE)),
                failed,
            })),
        }
    }

    /// Ready when the handshake is over.
    pub(crate) fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&mut Open>> {
        if let Self::Handshake(handshake) = self {
            let done = match handshake.deadline.as_mut().poll(cx) {
                Poll::Ready(()) => Err(handshake.time_out()),
                Poll::Pending => ready!(handshake.poll(cx)),
            };
            *self = match done {
                Ok(tls) => Self::Open(Either::Right(Box::new(tls))),
                Err(why) => {
                    *self = Self::Failed;
                    return Poll::Ready(Err(why));
                }
            };
        }
        let open = self.open();
        Poll::Ready(open.ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }

    /// `None` during the handshake and after its failure.
    pub(crate) fn open(&mut self) -> Option<&mut Open> {
        match self {
            Self::Open(open) => Some(open),
            Self::Handshake(_) | Self::Failed => None,
        }
    }
}

// === impl Handshake ===

impl Handshake {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<TlsStream<TcpStream>>> {
        loop {
            self.stage = match mem::replace(&mut self.stage, Stage::Done) {
                Stage::Fresh(tcp, tls) => {
                    let mut first = [0; FIRST_BYTES];
                    let mut first = ReadBuf::new(&mut first);
                    let peeked = tcp.poll_peek(cx, &mut first);
                    match peeked {
                        Poll::Pending => {
                            self.stage = Stage::Fresh(tcp, tls);
                            return Poll::Pending;
                        }
                        Poll::Ready(Err(why)) => return Poll::Ready(Err(why)),
                        // A port scan.
                        Poll::Ready(Ok(0)) => {
                            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                        }
                        Poll::Ready(Ok(_)) => (),
                    }
                    if first.filled().first() == Some(&answer::HANDSHAKE) {
                        Stage::Shaking(Box::new(tls.accept(tcp).into_fallible()))
                    } else {
                        // All of it fits into a fresh socket's buffer.
                        let _ = tcp.try_write(&answer::to_plaintext(first.filled()));
                        let why = io::Error::other("the peer speaks no TLS");
                        self.log_failure(&why, "the answer was: use https://");
                        Stage::Refused(tcp, why)
                    }
                }
                Stage::Shaking(mut accept) => match Pin::new(&mut accept).poll(cx) {
                    Poll::Ready(Ok(tls)) => return Poll::Ready(Ok(tls)),
                    Poll::Ready(Err((why, tcp))) => {
                        self.log_failure(&why, explain::hint(&why));
                        if explain::failure(&why).is_none() {
                            // The peer is gone.
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
                    if poll_discard(&mut tcp, cx).is_pending() {
                        self.stage = Stage::Refused(tcp, why);
                        return Poll::Pending;
                    }
                    return Poll::Ready(Err(why));
                }
                Stage::Done => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            };
        }
    }

    fn log_failure(&self, why: &io::Error, hint: &'static str) {
        let peer = self.peer;
        if let Some(times) = self.failed.count() {
            warn!(%peer, error = %chain(why), hint, times, "no TLS with a peer");
        } else {
            debug!(%peer, error = %chain(why), hint, "no TLS with a peer");
        }
    }

    fn time_out(&self) -> io::Error {
        let why = io::Error::from(io::ErrorKind::TimedOut);
        if !matches!(self.stage, Stage::Refused(..)) {
            self.log_failure(&why, "it did not finish its handshake in time");
        }
        why
    }
}

/// Closes this side and discards what comes until the peer closes its side.
fn poll_discard(tcp: &mut TcpStream, cx: &mut Context<'_>) -> Poll<()> {
    if ready!(Pin::new(&mut *tcp).poll_shutdown(cx)).is_err() {
        return Poll::Ready(());
    }
    loop {
        let mut discarded = [0; 1024];
        let mut discarded = ReadBuf::new(&mut discarded);
        let read = ready!(Pin::new(&mut *tcp).poll_read(cx, &mut discarded));
        if read.is_err() || discarded.filled().is_empty() {
            return Poll::Ready(());
        }
    }
}
