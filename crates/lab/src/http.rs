//! HTTP between programs on this host.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::{Context as _, Result, ensure};
use axum::body::Bytes;
use axum::http::{Method, Uri};
use axum::response::IntoResponse;

use crate::background::Background;
use crate::wait::HANG;

/// The status and the body of what GET gives.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let attempt = || format!("GET http://{address}{path}");
    let mut stream = TcpStream::connect_timeout(&address, HANG).with_context(attempt)?;
    stream.set_read_timeout(Some(HANG)).with_context(attempt)?;
    exchange(
        &mut stream,
        &format!("GET {path}"),
        &address.to_string(),
        "",
    )
    .with_context(attempt)
}

/// The body of what GET gives; any status but 200 is an error.
pub(crate) fn get_ok(address: SocketAddr, path: &str) -> Result<String> {
    let (status, body) = get(address, path)?;
    ensure!(
        status == 200,
        "GET http://{address}{path}: {status}: {body}"
    );
    Ok(body)
}

/// Sends a request, such as `GET /`, on a new connection: the status and the body of its answer.
pub(crate) fn exchange(
    stream: &mut (impl Read + Write),
    request: &str,
    host: &str,
    body: &str,
) -> Result<(u16, String)> {
    // Of version 1.0: an answer without chunks, and the connection closed at its end.
    let len = body.len();
    let request =
        format!("{request} HTTP/1.0\r\nhost: {host}\r\ncontent-length: {len}\r\n\r\n{body}");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no end of a head")?;
    let status = head.split(' ').nth(1).context("no status")?;
    Ok((status.parse().context("read a status")?, body.to_owned()))
}

/// Answers every request at `listener` until what it returns is dropped.
pub(crate) fn serve<R: IntoResponse + 'static>(
    listener: TcpListener,
    answer: impl Fn(&Method, &Uri, &[u8]) -> R + Clone + Send + Sync + 'static,
) -> Result<Background> {
    listener
        .set_nonblocking(true)
        .context("share a listener with tokio")?;
    let answer =
        move |method: Method, uri: Uri, body: Bytes| async move { answer(&method, &uri, &body) };
    let router = axum::Router::new().fallback(answer);
    Background::spawn(move || async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        axum::serve(listener, router).await
    })
}
