//! The connections of gRPC: none of them to a peer that never says a word.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::stream::{self, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::port::{self, Port};

/// A client has said its HTTP/2 preface after this, or is hung up on. From then on it may
/// be silent for ever. A TLS handshake counts in.
pub const PREFACE_DEADLINE: Duration = Duration::from_secs(5);

/// `PRI * HTTP/2.0` and so on, RFC 9113, section 3.4. The transport checks the words.
const PREFACE_BYTES: usize = 24;

/// An open connection.
pub(super) struct Connection {
    inner: port::Connection,
    local: SocketAddr,
    /// Gone once the peer has said its preface, and its timer with it.
    preface: Option<Preface>,
}

/// What is still to come, and until when.
struct Preface {
    missing: usize,
    late: Pin<Box<Sleep>>,
}

/// The connections `port` gets.
pub(super) fn accept(port: Port) -> impl Stream<Item = io::Result<Connection>> {
    stream::unfold(port, |mut port| async {
        let inner = port.next().await;
        let connection = Connection {
            inner,
            local: port.address(),
            preface: Some(Preface {
                missing: PREFACE_BYTES,
                late: Box::pin(sleep(PREFACE_DEADLINE)),
            }),
        };
        Some((Ok(connection), port))
    })
}

// === impl Connection ===

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        TcpConnectInfo {
            local_addr: Some(self.local),
            remote_addr: Some(self.inner.peer()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { inner, preface, .. } = &mut *self;
        let before = buf.filled().len();
        let read = Pin::new(inner).poll_read(cx, buf);
        let Some(waiting) = preface else { return read };
        // First: who sends a byte now and then must not put the end off.
        if waiting.late.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        ready!(read)?;
        let more = buf.filled().len().saturating_sub(before);
        waiting.missing = waiting.missing.saturating_sub(more);
        if waiting.missing == 0 {
            *preface = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
