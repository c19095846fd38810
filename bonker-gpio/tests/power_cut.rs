#![allow(clippy::unwrap_used, reason = "a helper of tests may panic")]

//! A bonker that is killed in the midst of its work, and the next one.

mod common;

use std::path::Path;

use common::program::{Running, within};
use common::{item, short};
use proto::bonk::bonk_service_client::BonkServiceClient;
use proto::bonk::{
    BonkRequest, GetStatusRequest, Outcome, Position, StreamBonksRequest, WatchBonksRequest,
};
use rustix::process::Signal;
use tokio_stream::StreamExt;
use tonic::transport::Channel;

type Client = BonkServiceClient<Channel>;

/// Bonks in one stream: more than the server can swing for meanwhile, and in all rounds no
/// more than it remembers.
const FLOOD: usize = 1200;

async fn start(state: &Path) -> (Running, Client) {
    let state = state.to_str().unwrap();
    let flags = [
        ["--state", state],
        ["--hold", "1ms"],
        ["--queue", "10000"],
        ["--peer-rate", "1000000/min"],
        ["--peer-burst", "1000000"],
        ["--log-level", "warn"],
    ];
    let (running, url) = Running::serve("127.0.0.1:0", &flags.concat()).await;
    let client = within(BonkServiceClient::connect(url)).await.unwrap();
    (running, client)
}

/// What the history holds: total, and the ids in order with their sequences.
async fn history(client: &mut Client) -> (u64, Vec<(u64, String)>) {
    let status = within(client.get_status(GetStatusRequest {})).await;
    let total = status.unwrap().into_inner().total_swings;
    let after = Some(Position::default());
    let call = client.watch_bonks(WatchBonksRequest { after });
    let mut swings = within(call).await.unwrap().into_inner();
    let mut held = Vec::new();
    while (held.len() as u64) < total {
        let received = within(swings.message()).await.unwrap().unwrap();
        assert_eq!(received.missed, 0);
        held.push((
            received.position.unwrap().sequence,
            received.item.unwrap().id,
        ));
    }
    (total, held)
}

#[tokio::test]
async fn a_kill_in_mid_flood_loses_no_more_than_the_last_moment() {
    let dir = tempfile::tempdir().unwrap();
    let mut before = Vec::new();
    let mut position: Option<Position> = None;
    for round in 1..=3_usize {
        let (running, mut client) = start(dir.path()).await;
        let (total, held) = history(&mut client).await;
        let sequences: Vec<u64> = held.iter().map(|(sequence, _)| *sequence).collect();
        assert_eq!(sequences, (1..=total).collect::<Vec<_>>());
        assert!(held.starts_with(&before), "{before:?} became {held:?}");
        // Every swing has its answer, and both were written.
        for (_, id) in &held {
            let item = Some(item(id));
            let answer = within(client.bonk(BonkRequest { item })).await.unwrap();
            let (_, outcome, first) = short(answer.into_inner().acknowledgement);
            assert_eq!(
                (outcome, first),
                (Outcome::Duplicate, Outcome::Accepted),
                "{id}"
            );
        }
        // A watcher that saw more than was written skips nothing that comes now.
        let call = client.watch_bonks(WatchBonksRequest {
            after: position.take(),
        });
        let mut swings = within(call).await.unwrap().into_inner();
        let flood = tokio_stream::iter(0..FLOOD).map(move |n| StreamBonksRequest {
            item: Some(item(&format!("{round}-{n}"))),
        });
        let mut answers = within(client.stream_bonks(flood))
            .await
            .unwrap()
            .into_inner();
        let mut expect = total + 1;
        let mut received = Vec::new();
        let mut answered = 0;
        while received.len() < 2 + round || answered < FLOOD / 2 {
            tokio::select! {
                answer = within(answers.message()), if answered < FLOOD => {
                    let answer = short(answer.unwrap().unwrap().acknowledgement);
                    assert_eq!(answer.1, Outcome::Accepted);
                    answered += 1;
                }
                swung = within(swings.message()) => {
                    let swung = swung.unwrap().unwrap();
                    let at = swung.position.unwrap();
                    if at.sequence > total {
                        assert_eq!(at.sequence, expect);
                        expect += 1;
                        received.push((at.sequence, swung.item.unwrap().id));
                    }
                    position = Some(at);
                }
            }
        }
        let (status, _) = running.stop(Signal::KILL).await;
        assert!(!status.success());
        // The swings of the last moment may be lost; those before are not.
        let written = received.len().saturating_sub(2);
        before = held;
        before.extend(received.into_iter().take(written));
    }
    let (_running, mut client) = start(dir.path()).await;
    let (total, held) = history(&mut client).await;
    assert!(held.starts_with(&before), "{before:?} became {held:?}");
    assert!(total >= 6, "{total}");
}
