//! The accepted connections: so many at a time and from one peer, none of them to a peer
//! that is gone or never says a word.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};
use tonic::transport::server::{Connected, TcpConnectInfo, TcpIncoming};

use crate::bounds::{Guest, Peers, Place, Places};

/// How many connections may be open. More wait, unaccepted, until one closes.
pub const MAX_CONNECTIONS: usize = 256;

/// How many connections one address may have open. More are hung up on.
pub const MAX_CONNECTIONS_PER_PEER: usize = 64;

/// A client has said its HTTP/2 preface after this, or is hung up on. From then on it may
/// be silent for ever.
pub const PREFACE_DEADLINE: Duration = Duration::from_secs(5);

/// `PRI * HTTP/2.0` and so on, RFC 9113, section 3.4. The transport checks the words.
const PREFACE_BYTES: usize = 24;

/// A peer that vanished without a word is let go after these: the first probe, the pause
/// before the next, and how many stay unanswered. The kernel sends them; unlike HTTP/2's
/// pings they do not wake this process, nor the peer's.
const PROBE_AFTER: Duration = Duration::from_mins(1);
const PROBE_EVERY: Duration = Duration::from_secs(20);
const PROBES: u32 = 3;

/// An open connection and its place among the [`MAX_CONNECTIONS`].
pub(super) struct Connection {
    tcp: TcpStream,
    /// Gone once the peer has said its preface, and its timer with it.
    preface: Option<Preface>,
    _place: Place,
    _guest: Guest,
}

/// What is still to come, and until when.
struct Preface {
    missing: usize,
    late: Pin<Box<Sleep>>,
}

/// The connections `listener` gets, each accepted once there is a place for it.
pub(super) fn accept(
    listener: TcpListener,
    places: Places,
    peers: Peers,
) -> impl Stream<Item = io::Result<Connection>> {
    let incoming = TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .with_keepalive(Some(PROBE_AFTER))
        .with_keepalive_interval(Some(PROBE_EVERY))
        .with_keepalive_retries(Some(PROBES));
    let start = (incoming, places, peers);
    stream::unfold(start, |(mut incoming, places, peers)| async {
        let place = places.take().await;
        let connection = loop {
            let tcp = match incoming.next().await? {
                Ok(tcp) => tcp,
                Err(why) => break Err(why),
            };
            // An error means that the peer is gone already.
            let Ok(peer) = tcp.peer_addr() else { continue };
            if let Some(guest) = peers.admit(peer.ip()) {
                break Ok(Connection::new(tcp, place, guest));
            }
        };
        Some((connection, (incoming, places, peers)))
    })
}

// === impl Connection ===

impl Connection {
    fn new(tcp: TcpStream, place: Place, guest: Guest) -> Self {
        Self {
            tcp,
            preface: Some(Preface {
                missing: PREFACE_BYTES,
                late: Box::pin(sleep(PREFACE_DEADLINE)),
            }),
            _place: place,
            _guest: guest,
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.tcp.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { tcp, preface, .. } = &mut *self;
        let before = buf.filled().len();
        let read = Pin::new(tcp).poll_read(cx, buf);
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
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use futures::StreamExt;
    use rustix::net::sockopt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::{PROBE_AFTER, PROBE_EVERY, PROBES, accept};
    use crate::bounds::{Peers, Places};

    const SOON: Duration = Duration::from_secs(10);

    /// The clock is paused: time passes only when no connection waits to be accepted.
    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_waits_for_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut connections = pin!(accept(
            listener,
            Places::new("connections", 2),
            Peers::new(3)
        ));
        let mut peers = Vec::new();
        for _ in 0..3 {
            peers.push(TcpStream::connect(address).await.unwrap());
        }
        let mut next = async || timeout(SOON, connections.next()).await;
        let first = next().await.unwrap().unwrap().unwrap();
        let _second = next().await.unwrap().unwrap().unwrap();
        assert!(next().await.is_err(), "a third was accepted");
        let gone = first.tcp.peer_addr().unwrap();
        drop(first);
        let third = next().await.unwrap().unwrap().unwrap();
        assert_ne!(third.tcp.peer_addr().unwrap(), gone);
    }

    #[tokio::test]
    async fn every_connection_is_probed_and_never_delayed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut connections = pin!(accept(
            listener,
            Places::new("connections", 1),
            Peers::new(1)
        ));
        let _peer = TcpStream::connect(address).await.unwrap();
        let accepted = timeout(SOON, connections.next()).await;
        let tcp = accepted.unwrap().unwrap().unwrap().tcp;
        assert!(sockopt::tcp_nodelay(&tcp).unwrap());
        assert!(sockopt::socket_keepalive(&tcp).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&tcp).unwrap(), PROBE_AFTER);
        assert_eq!(sockopt::tcp_keepintvl(&tcp).unwrap(), PROBE_EVERY);
        assert_eq!(sockopt::tcp_keepcnt(&tcp).unwrap(), PROBES);
    }
}
