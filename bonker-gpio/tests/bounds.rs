#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a helper of tests may panic"
)]

//! How much of the server strangers may take up.

mod common;

use std::time::Duration;

use bonker_gpio::{MAX_WATCHERS, OPEN_DEADLINE};
use common::{MAX_CONNECTIONS, MAX_CONNECTIONS_PER_PEER, Server, access, servo, within};
use proto::bonk::{GetStatusRequest, WatchBonksRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;
use tonic::Code;

/// The first message of an HTTP/2 client: the preface and empty SETTINGS.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The acknowledgement of those SETTINGS.
const WELCOME: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";

/// A connection from the loopback address 127.0.0.`from` that has sent its preface.
async fn peer(from: usize, server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let from = format!("127.0.0.{from}:0").parse().unwrap();
    socket.bind(from).unwrap();
    let mut peer = within(socket.connect(server.address)).await.unwrap();
    peer.write_all(HELLO).await.unwrap();
    peer
}

#[tokio::test]
async fn a_peer_with_too_many_connections_is_refused_and_no_other() {
    let (servo, _gate) = servo(None);
    let mut server = Server::start(servo).await;
    server.ready().await;
    let mut byte = [0];
    let mut crowd = Vec::new();
    for _ in 0..MAX_CONNECTIONS_PER_PEER {
        let mut peer = peer(2, &server).await;
        within(peer.read_exact(&mut byte)).await.unwrap();
        crowd.push(peer);
    }
    let mut late = peer(2, &server).await;
    within(late.read_exact(&mut byte)).await.unwrap_err();
    let mut other = peer(3, &server).await;
    within(other.read_exact(&mut byte)).await.unwrap();
    drop(crowd.pop());
    within(async { while peer(2, &server).await.read_exact(&mut byte).await.is_err() {} }).await;
}

/// The clock is paused: it moves as soon as nobody has anything to do.
#[tokio::test]
async fn a_peer_that_sends_no_preface_is_disconnected() {
    let (servo, _gate) = servo(None);
    let mut server = Server::start(servo).await;
    server.ready().await;
    tokio::time::pause();
    for output in [&b""[..], &HELLO[..23], b"GET"] {
        let mut peer = TcpStream::connect(server.address).await.unwrap();
        let begun = Instant::now();
        peer.write_all(output).await.unwrap();
        let mut heard = Vec::new();
        // An end or a reset, depending on what of the words was read.
        let _ = within(peer.read_to_end(&mut heard)).await;
        let took = begun.elapsed();
        assert!(took < OPEN_DEADLINE + Duration::from_secs(1), "{took:?}");
    }
}

#[tokio::test]
async fn a_connection_too_many_waits_until_another_closes() {
    const ROUND_TRIPS: usize = 50;
    let (servo, _gate) = servo(None);
    let mut server = Server::start(servo).await;
    server.ready().await;
    let mut inside = server.client().await;
    let mut crowd = Vec::new();
    for n in 1..MAX_CONNECTIONS {
        crowd.push(peer(2 + n / MAX_CONNECTIONS_PER_PEER, &server).await);
    }
    let mut late = peer(9, &server).await;
    let mut byte = [0];
    for _ in 0..ROUND_TRIPS {
        let status = within(inside.get_status(GetStatusRequest {})).await;
        status.unwrap();
        let nothing = late.try_read(&mut byte).unwrap_err();
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    }
    drop(crowd.pop());
    within(late.read_exact(&mut byte)).await.unwrap();
}

#[tokio::test]
async fn a_watcher_too_many_is_refused_until_another_leaves() {
    let (servo, _gate) = servo(None);
    let mut all = access();
    all.limits.per_peer = 2 * MAX_WATCHERS;
    let mut server = Server::guarded(servo, all).await;
    server.ready().await;
    let mut client = server.client().await;
    let mut watchers = Vec::new();
    let mut on_this_one = server.client().await;
    for n in 0..MAX_WATCHERS {
        // A connection has not as many streams.
        if n % 32 == 0 {
            on_this_one = server.client().await;
        }
        let client = &mut on_this_one;
        let watcher = within(client.watch_bonks(WatchBonksRequest::default())).await;
        watchers.push(watcher.unwrap());
    }
    let refused = within(client.watch_bonks(WatchBonksRequest::default())).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let says_how_many = refused.message().contains(&MAX_WATCHERS.to_string());
    assert!(says_how_many, "{refused}");
    drop(watchers.pop());
    // The server notices it on another connection than that of the next request.
    within(async {
        while let Err(refused) = client.watch_bonks(WatchBonksRequest::default()).await {
            assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        }
    })
    .await;
}

/// The clock is paused: the days pass as soon as nobody has anything to do.
#[tokio::test]
async fn a_quiet_peer_stays_connected() {
    const QUIET: Duration = Duration::from_hours(72);
    let (servo, _gate) = servo(None);
    let mut server = Server::start(servo).await;
    server.ready().await;
    tokio::time::pause();
    let mut peer = TcpStream::connect(server.address).await.unwrap();
    peer.write_all(HELLO).await.unwrap();
    let mut heard = Vec::new();
    while !heard.windows(WELCOME.len()).any(|frame| frame == WELCOME) {
        let read = within(peer.read_buf(&mut heard)).await;
        assert_ne!(read.unwrap(), 0, "hung up after {heard:?}");
    }
    // Neither a ping nor a goodbye, which it would not answer, nor an end.
    let more = tokio::time::timeout(QUIET, peer.read_buf(&mut heard)).await;
    assert!(more.is_err(), "heard {more:?}");
}

#[tokio::test]
async fn a_peer_with_too_many_streams_is_refused_until_one_ends() {
    let (servo, _gate) = servo(None);
    let mut few = access();
    few.limits.per_peer = 2;
    let mut server = Server::guarded(servo, few).await;
    server.ready().await;
    let mut client = server.client().await;
    let (_first, second) = (
        within(client.stream_bonks(tokio_stream::pending())).await,
        within(client.watch_bonks(WatchBonksRequest::default())).await,
    );
    let second = second.unwrap();
    let refused = within(client.stream_bonks(tokio_stream::pending())).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("2 streams"), "{refused}");
    drop(second);
    within(async {
        while let Err(refused) = client.stream_bonks(tokio_stream::pending()).await {
            assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        }
    })
    .await;
}

/// The clock is paused: it moves as soon as nobody has anything to do.
#[tokio::test]
async fn a_stream_without_items_ends_without_an_error_and_one_with_them_stays() {
    const IDLE: Duration = Duration::from_mins(10);
    const ALMOST: Duration = Duration::from_mins(9);
    let (servo, _gate) = servo(None);
    let mut short = access();
    short.idle_timeout = IDLE;
    let mut server = Server::guarded(servo, short).await;
    server.ready().await;
    tokio::time::pause();
    let mut client = server.client().await;
    let (send, items) = tokio::sync::mpsc::channel(1);
    let items = tokio_stream::wrappers::ReceiverStream::new(items);
    let mut answers = client.stream_bonks(items).await.unwrap().into_inner();
    for n in 0..3 {
        tokio::time::sleep(ALMOST).await;
        let item = Some(common::item(&n.to_string()));
        send.send(proto::bonk::StreamBonksRequest { item })
            .await
            .unwrap();
        answers.message().await.unwrap().unwrap();
    }
    let begun = Instant::now();
    assert_eq!(answers.message().await.unwrap(), None);
    let took = begun.elapsed();
    assert!(
        (IDLE..IDLE + Duration::from_secs(1)).contains(&took),
        "{took:?}"
    );
}
