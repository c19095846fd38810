//! The accepted connections: so many at a time, none of them to a peer that is gone.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::{Connected, TcpConnectInfo, TcpIncoming};

use super::places::{Place, Places};

/// How many connections may be open. More wait, unaccepted, until one closes.
pub const MAX_CONNECTIONS: usize = 256;

/// A peer that vanished without a word is let go after these: the first probe, the pause
/// before the next, and how many stay unanswered. The kernel sends them; unlike HTTP/2's
/// pings they do not wake this process, nor the peer's.
const PROBE_AFTER: Duration = Duration::from_mins(1);
const PROBE_EVERY: Duration = Duration::from_secs(20);
const PROBES: u32 = 3;

/// An open connection and its place among the [`MAX_CONNECTIONS`].
pub(super) struct Connection {
    tcp: TcpStream,
    _place: Place,
}

/// The connections `listener` gets, each accepted once there is a place for it.
pub(super) fn accept(
    listener: TcpListener,
    places: Places,
) -> impl Stream<Item = io::Result<Connection>> {
    let incoming = TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .with_keepalive(Some(PROBE_AFTER))
        .with_keepalive_interval(Some(PROBE_EVERY))
        .with_keepalive_retries(Some(PROBES));
    stream::unfold((incoming, places), |(mut incoming, places)| async {
        let place = places.take().await;
        let accepted = incoming.next().await?;
        let connection = accepted.map(|tcp| Connection { tcp, _place: place });
        Some((connection, (incoming, places)))
    })
}

// === impl Connection ===

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
        Pin::new(&mut self.tcp).poll_read(cx, buf)
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
    use crate::server::places::Places;

    const SOON: Duration = Duration::from_secs(10);

    /// The clock is paused: time passes only when no connection waits to be accepted.
    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_waits_for_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut connections = pin!(accept(listener, Places::new("connections", 2)));
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
        let mut connections = pin!(accept(listener, Places::new("connections", 1)));
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
