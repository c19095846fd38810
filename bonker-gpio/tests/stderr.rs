#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a helper of tests may panic"
)]

//! Standard error, read and unread.

mod common;

use std::time::Duration;

use common::item;
use common::program::{Running, finish, program, within};
use proto::bonk::bonk_service_client::BonkServiceClient;
use proto::bonk::{BonkRequest, Outcome};
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// The outcomes of `count` bonks with the ids `id` makes.
async fn bonks(url: &str, count: usize, id: impl Fn(usize) -> String) -> Vec<Outcome> {
    let connect = BonkServiceClient::connect(url.to_owned());
    let mut client = within(connect).await.unwrap();
    let mut outcomes = Vec::new();
    for n in 0..count {
        let item = Some(item(&id(n)));
        let answer = within(client.bonk(BonkRequest { item })).await.unwrap();
        outcomes.push(answer.into_inner().acknowledgement.unwrap().outcome());
    }
    outcomes
}

#[tokio::test]
async fn an_unread_standard_error_does_not_delay_the_server() {
    let wordy = ["--log-level", "trace"];
    let (mut server, url) = Running::serve("127.0.0.1:0", &wordy).await;
    let stderr = server.child.stderr.take().unwrap();
    rustix::pipe::fcntl_setpipe_size(&stderr, 4096).unwrap();
    let outcomes = bonks(&url, 300, |_| String::new()).await;
    assert!(outcomes.iter().all(|&outcome| outcome == Outcome::Rejected));
    // Nobody reads it to the end either.
    let (status, rest) = server.stop(Signal::TERM).await;
    assert_eq!(status.code(), Some(0));
    assert!(rest.is_empty(), "more than the ready line: {rest:?}");
    drop(stderr);
}

#[tokio::test]
async fn a_flood_of_refusals_does_not_fill_the_log() {
    let tight = ["--queue", "4", "--peer-burst", "50", "--peer-rate", "1/min"];
    let (server, url) = Running::serve("127.0.0.1:0", &tight).await;
    bonks(&url, 100, |_| String::new()).await;
    let outcomes = bonks(&url, 150, |n| n.to_string()).await;
    let count = |wanted| {
        outcomes
            .iter()
            .filter(|&&outcome| outcome == wanted)
            .count()
    };
    // The queue, the swing under way, and a swing that may end meanwhile, took the others.
    assert!(count(Outcome::Full) >= 32, "{outcomes:?}");
    assert!(count(Outcome::RateLimited) >= 64, "{outcomes:?}");
    let (_, _, output) = server.end(Signal::TERM).await;
    assert_eq!(output.matches("REJECTED").count(), 7, "{output}");
    assert_eq!(output.matches("FULL").count(), 6, "{output}");
    assert_eq!(output.matches("RATE_LIMITED").count(), 7, "{output}");
}

/// Answers everything as an HTTP/1 server answers an HTTP/2 client.
async fn http1(listener: TcpListener) {
    let mut peers = Vec::new();
    while let Ok((mut peer, _)) = listener.accept().await {
        let answer = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
        let mut hello = [0; 24];
        // A client that is gone is no matter.
        let _ = peer.read_exact(&mut hello).await;
        let _ = peer.write_all(answer).await;
        peers.push(peer);
    }
}

#[tokio::test]
async fn another_kind_of_server_is_named_in_the_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(http1(listener));
    let plain = |output: &str| {
        assert!(
            output.contains("check that a bonker listens there"),
            "{output}"
        );
        assert!(output.contains("connection error"), "the chain: {output}");
        for raw in ["tonic::", "hyper::", "Error(", "Error {", "Some("] {
            assert!(!output.contains(raw), "{raw} in {output}");
        }
    };
    for args in [["bonk", "--to", &url], ["status", "--from", &url]] {
        let (code, stdout, stderr) = finish(&args).await;
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
        plain(&stderr);
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
    let mut watcher = Running::start(&["watch", "--from", &url]);
    let mut output = BufReader::new(watcher.child.stderr.take().unwrap()).lines();
    plain(&within(output.next_line()).await.unwrap().unwrap());
    // Long enough for several attempts.
    let again = tokio::time::timeout(Duration::from_secs(2), output.next_line()).await;
    assert!(again.is_err(), "{again:?}");
}

#[tokio::test]
async fn no_color_wins_over_forced_colour() {
    for (no_color, has_colour) in [("", true), ("1", false)] {
        let mut command = program(&["serve", "--listen", "127.0.0.1:0", "--backend", "null"]);
        command.env("CLICOLOR_FORCE", "1").env("NO_COLOR", no_color);
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        within(stderr.read_line(&mut line)).await.unwrap();
        assert_eq!(line.contains('\x1b'), has_colour, "{line}");
    }
}
