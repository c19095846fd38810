#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a helper of tests may panic"
)]

//! The web side from outside, over real sockets.

mod common;

use std::time::{Duration, Instant};

use bonker_gpio::{HEAD_DEADLINE, MAX_HEAD_BYTES, MAX_HTTP_CONNECTIONS_PER_PEER};
use common::http::{get, rest, send};
use common::{REST_US, Server, servo, within};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

#[tokio::test]
async fn probes_follow_the_boot_motion() {
    let (servo, mut gate) = servo(Some(REST_US));
    let mut server = Server::start(servo).await;
    gate.reached(REST_US).await;
    let live = get(server.web, "/live").await;
    assert!(live.starts_with("HTTP/1.1 200 "), "{live}");
    assert!(live.ends_with("\r\n\r\nyes\n"), "{live}");
    assert!(live.contains("x-content-type-options: nosniff"), "{live}");
    let early = get(server.web, "/ready").await;
    assert!(early.starts_with("HTTP/1.1 503 "), "{early}");
    gate.open = None;
    server.ready().await;
    let ready = get(server.web, "/ready").await;
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
    let nowhere = get(server.web, "/nowhere").await;
    assert!(nowhere.starts_with("HTTP/1.1 404 "), "{nowhere}");
    server.stop();
    server.stopped().await;
}

#[tokio::test]
async fn a_request_head_too_long_or_too_slow_is_cut_off() {
    let (servo, _gate) = servo(None);
    let mut server = Server::start(servo).await;
    server.ready().await;
    let begun = Instant::now();
    let mut slow = send(server.web, "GET /live HTTP/1.1\r\n").await;
    let mut silent = send(server.web, "").await;
    let long = "y".repeat(2 * MAX_HEAD_BYTES);
    let long = get(server.web, &format!("/live?{long}")).await;
    assert!(long.is_empty() || long.starts_with("HTTP/1.1 4"), "{long}");
    assert!(get(server.web, "/live").await.starts_with("HTTP/1.1 200 "));
    for stream in [&mut slow, &mut silent] {
        let _reset = within(stream.read_to_end(&mut Vec::new())).await;
    }
    assert!(begun.elapsed() + Duration::from_secs(1) >= HEAD_DEADLINE);
}

#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let (servo, _gate) = servo(None);
    let mut server = Server::start(servo).await;
    server.ready().await;
    let mut idle = Vec::new();
    for _ in 0..MAX_HTTP_CONNECTIONS_PER_PEER {
        let mut stream = send(server.web, "GET /live HTTP/1.1\r\nhost: a\r\n\r\n").await;
        // Answered means accepted.
        within(stream.read_u8()).await.unwrap();
        idle.push(stream);
    }
    assert_eq!(get(server.web, "/live").await, "");
    server.stop();
    server.stopped().await;
    for mut stream in idle {
        let answer = rest(&mut stream).await;
        assert!(answer.ends_with("yes\n"), "{answer}");
    }
}

#[tokio::test]
async fn half_a_request_does_not_hold_the_end_up() {
    let (servo, _gate) = servo(None);
    let mut server = Server::start(servo).await;
    server.ready().await;
    let _half = send(server.web, "GET /live HTTP/1.1\r\n").await;
    assert!(get(server.web, "/live").await.starts_with("HTTP/1.1 200 "));
    let web = server.web;
    server.stop();
    server.stopped().await;
    assert!(TcpStream::connect(web).await.is_err(), "still listening");
}

/// By what the kernel shows of its sockets (`Documentation/networking/proc_net_tcp.rst`): a
/// timer of kind 2 runs for a silent connection only if it is probed.
#[tokio::test]
async fn a_browser_that_vanished_is_probed_for() {
    let (servo, _gate) = servo(None);
    let mut server = Server::start(servo).await;
    server.ready().await;
    let mut page = send(server.web, "GET /events HTTP/1.1\r\nhost: a\r\n\r\n").await;
    within(page.read_u8()).await.unwrap();
    let port = |address: &str| u16::from_str_radix(address.split(':').nth(1)?, 16).ok();
    let (ours, theirs) = (server.web.port(), page.local_addr().unwrap().port());
    let timer = || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let of_ours = |line: &str| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let [_, local, remote, _, _, timer, ..] = fields.as_slice() else {
                return None;
            };
            (port(local) == Some(ours) && port(remote) == Some(theirs)).then(|| (*timer).to_owned())
        };
        table.lines().find_map(of_ours).unwrap()
    };
    within(async {
        while timer().starts_with("01:") {
            // What was sent last is not acknowledged yet.
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(timer().starts_with("02:"), "{}", timer());
    server.stop();
    server.stopped().await;
}
