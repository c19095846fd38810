//! HTTP/1.1 over a plain socket.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::within;

/// What comes back until the other side closes.
pub async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset is an end, too.
    let _reset = within(stream.read_to_end(&mut answer)).await;
    String::from_utf8(answer).unwrap()
}

pub async fn send(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _reset = stream.write_all(request.as_bytes()).await;
    stream
}

/// The whole answer, head and all.
pub async fn get(address: SocketAddr, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    rest(&mut send(address, &request).await).await
}
