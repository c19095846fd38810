//! GET over HTTP, from servers on this host.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use super::wait::HANG;
use anyhow::{Context as _, Result};

/// The status and the body of what GET gives.
pub(super) fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let attempt = || format!("GET http://{address}{path}");
    let mut stream = TcpStream::connect_timeout(&address, HANG).with_context(attempt)?;
    stream.set_read_timeout(Some(HANG)).with_context(attempt)?;
    // Of version 1.0: a body without chunks, and the connection closed at its end.
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n").with_context(attempt)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(attempt)?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(attempt)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok((status.with_context(attempt)?, body.to_owned()))
}
