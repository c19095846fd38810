//! The connections of gRPC: each has to send HTTP/2's preface in time.

use std::io;
use std::time::Duration;

use futures::stream::{self, Stream};
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::net::port::{Connection, Port};

/// For a client to send its HTTP/2 preface, TLS handshake included. After that it may be silent
/// for ever.
pub const PREFACE_DEADLINE: Duration = Duration::from_secs(5);

/// `PRI * HTTP/2.0` and so on, RFC 9113, section 3.4. The transport checks the text.
const PREFACE_BYTES: usize = 24;

pub(super) fn accept(port: Port) -> impl Stream<Item = io::Result<Connection>> {
    stream::unfold(port, |mut port| async {
        let connection = port.accept().await;
        let connection = connection.expect(PREFACE_BYTES, PREFACE_DEADLINE);
        Some((Ok(connection), port))
    })
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        TcpConnectInfo {
            local_addr: Some(self.local()),
            remote_addr: Some(self.peer()),
        }
    }
}
