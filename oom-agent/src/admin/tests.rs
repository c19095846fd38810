//! Real sockets on a port of their own.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::{Answer, CONNECTION_TIMEOUT, Endpoint, HEAD_LEN, MAX_CONNECTIONS, listen, serve};
use crate::metrics::Counter;

const WITHIN: Duration = Duration::from_mins(3);

struct Server {
    address: SocketAddr,
    evicted: Counter,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn server() -> Server {
    let listener = listen("127.0.0.1:0".parse().ok()).await.unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let evicted = Counter::default();
    let answer = |endpoint| async move {
        match endpoint {
            Endpoint::Metrics => Answer::Metrics {
                content_type: "text/x-test",
                text: "all of them".to_owned(),
            },
            Endpoint::Live => Answer::Yes,
            Endpoint::Ready => Answer::No("not yet".to_owned()),
        }
    };
    let task = tokio::spawn(serve(listener, answer, evicted.clone()));
    Server {
        address,
        evicted,
        task,
    }
}

/// Reads until the server closes.
async fn read_rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset ends the stream, too.
    let _reset = timeout(WITHIN, stream.read_to_end(&mut answer))
        .await
        .expect("it closes");
    String::from_utf8(answer).unwrap()
}

async fn send_request(server: &Server, head: &str) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let _reset = stream.write_all(head.as_bytes()).await;
    read_rest(&mut stream).await
}

#[tokio::test]
async fn each_path_has_its_response() {
    let server = server().await;
    for (request, starts, ends) in [
        ("GET /metrics", "HTTP/1.1 200 OK\r\n", "\r\n\r\nall of them"),
        (
            "GET /metrics?x=y",
            "HTTP/1.1 200 OK\r\n",
            "\r\n\r\nall of them",
        ),
        ("HEAD /metrics", "HTTP/1.1 200 OK\r\n", "\r\n\r\n"),
        ("GET /live", "HTTP/1.1 200 OK\r\n", "\r\n\r\nyes\n"),
        (
            "GET /ready",
            "HTTP/1.1 503 Service Unavailable\r\n",
            "\r\n\r\nnot yet\n",
        ),
        ("GET /", "HTTP/1.1 404 Not Found\r\n", "/ready\n"),
        ("GET /metrics/", "HTTP/1.1 404 Not Found\r\n", "/ready\n"),
        (
            "POST /metrics",
            "HTTP/1.1 405 Method Not Allowed\r\n",
            "\r\n\r\n",
        ),
    ] {
        let answer = send_request(&server, &format!("{request} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        assert!(
            answer.starts_with(starts) && answer.ends_with(ends),
            "{request}: {answer}"
        );
    }
    let head = send_request(&server, "HEAD /metrics HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(head.contains("content-length: 11\r\n"), "{head}");
    assert!(head.contains("content-type: text/x-test\r\n"), "{head}");
    let post = send_request(&server, "POST /live HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(post.contains("allow: GET, HEAD\r\n"), "{post}");
}

#[tokio::test]
async fn an_invalid_request_is_refused() {
    let server = server().await;
    let long = format!("GET /live HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(HEAD_LEN));
    let many = format!("GET /live HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(200));
    for (request, status) in [
        (long, "431"),
        (many, "431"),
        ("\0\u{1}\r\n\r\n".to_owned(), "400"),
    ] {
        let answer = send_request(&server, &request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_slow_peer_times_out_and_does_not_delay_another() {
    let server = server().await;
    let start = Instant::now();
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET /live HTTP/1.1\r\n").await.unwrap();
    let answer = send_request(&server, "GET /live HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(start.elapsed() < CONNECTION_TIMEOUT);
    assert_eq!(read_rest(&mut slow).await, "");
    assert!(start.elapsed() >= CONNECTION_TIMEOUT);
}

#[tokio::test]
async fn too_many_connections_close_the_oldest() {
    let server = server().await;
    let mut idle = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        idle.push(TcpStream::connect(server.address).await.unwrap());
    }
    let start = Instant::now();
    let answer = send_request(&server, "GET /live HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(read_rest(&mut idle[0]).await, "");
    assert!(
        start.elapsed() < CONNECTION_TIMEOUT,
        "{:?}",
        start.elapsed()
    );
    assert_eq!(server.evicted.get(), 1);
    // The others are still served.
    let last = idle.last_mut().unwrap();
    last.write_all(b"GET /live HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    assert!(read_rest(last).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn an_error_names_the_port_that_is_in_use() {
    let server = server().await;
    let error = listen(Some(server.address)).await.unwrap_err();
    let text = service::error_chain::chain(&error).to_string();
    assert!(
        text.contains(&server.address.to_string()) && text.contains("in use"),
        "{text}"
    );
}
