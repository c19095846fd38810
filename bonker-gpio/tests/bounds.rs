//! How much of the server strangers may take up.

mod common;

use std::time::Duration;

use bonker_gpio::{MAX_CONNECTIONS, MAX_WATCHERS};
use common::{Server, servo, within};
use proto::bonk::{GetStatusRequest, WatchBonksRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

/// What an HTTP/2 client says first: the preface and empty SETTINGS.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The acknowledgement of those SETTINGS.
const WELCOME: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";

#[tokio::test]
async fn a_connection_too_many_waits_until_another_closes() {
    const ROUND_TRIPS: usize = 50;
    let (servo, _gate) = servo(None);
    let mut server = Server::start(servo).await;
    server.ready().await;
    let mut inside = server.client().await;
    let mut crowd = Vec::new();
    for _ in 1..MAX_CONNECTIONS {
        let peer = within(TcpStream::connect(server.address)).await;
        crowd.push(peer.unwrap());
    }
    let mut late = TcpStream::connect(server.address).await.unwrap();
    late.write_all(HELLO).await.unwrap();
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
async fn a_watcher_too_many_is_told_so_until_another_leaves() {
    let (servo, _gate) = servo(None);
    let mut server = Server::start(servo).await;
    server.ready().await;
    let mut client = server.client().await;
    let mut watchers = Vec::new();
    for _ in 0..MAX_WATCHERS {
        // One connection has not as many streams.
        let mut client = server.client().await;
        let watcher = within(client.watch_bonks(WatchBonksRequest {})).await;
        watchers.push(watcher.unwrap());
    }
    let refused = within(client.watch_bonks(WatchBonksRequest {})).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let says_how_many = refused.message().contains(&MAX_WATCHERS.to_string());
    assert!(says_how_many, "{refused}");
    drop(watchers.pop());
    // The server learns of it on another connection than the one that asks.
    within(async {
        while let Err(refused) = client.watch_bonks(WatchBonksRequest {}).await {
            assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        }
    })
    .await;
}

/// The clock is paused: the days pass as soon as nobody has anything to do.
#[tokio::test(start_paused = true)]
async fn a_quiet_peer_stays_and_is_left_in_peace() {
    const QUIET: Duration = Duration::from_hours(72);
    let (servo, _gate) = servo(None);
    let mut server = Server::start(servo).await;
    server.ready().await;
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
