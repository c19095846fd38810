#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a helper of tests may panic"
)]

//! Watchers that come back.

mod common;

use std::time::Duration;

use bonker_gpio::{History, SWINGS_IN_MEMORY};
use common::{GatedServo, STRIKE_US, Server, item, servo, settings, short, within};
use proto::bonk::bonk_service_client::BonkServiceClient;
use proto::bonk::{
    BonkRequest, GetStatusRequest, Outcome, Position, SnoozeRequest, WatchBonksRequest,
    WatchBonksResponse,
};
use tonic::transport::Channel;
use tonic::{Code, Streaming};

type Client = BonkServiceClient<Channel>;

async fn watch(client: &mut Client, after: Option<Position>) -> Streaming<WatchBonksResponse> {
    let call = client.watch_bonks(WatchBonksRequest { after });
    within(call).await.unwrap().into_inner()
}

async fn bonk(client: &mut Client, id: &str) -> Outcome {
    let item = Some(item(id));
    let answer = within(client.bonk(BonkRequest { item })).await.unwrap();
    short(answer.into_inner().acknowledgement).1
}

/// Sends bonks `from` to `to` and waits for the swing of each.
async fn swing(server: &Server, client: &mut Client, from: u64, to: u64) {
    let mut swings = server.app.watch();
    for n in from..=to {
        assert_eq!(bonk(client, &n.to_string()).await, Outcome::Accepted);
        within(swings.recv()).await.unwrap();
    }
}

#[tokio::test]
async fn a_returning_watcher_gets_the_past_then_live_swings() {
    let (servo, _gate) = servo(None);
    let mut server = Server::start(servo).await;
    server.ready().await;
    let mut client = server.client().await;
    swing(&server, &mut client, 1, 5).await;
    let mut early = watch(&mut client, Some(Position::default())).await;
    let mut position = None;
    for n in 1..=2 {
        let received = within(early.message()).await.unwrap().unwrap();
        assert_eq!(received.item.unwrap().id, n.to_string());
        position = received.position;
    }
    drop(early);
    let mut back = watch(&mut client, position).await;
    let mut now = watch(&mut client, None).await;
    swing(&server, &mut client, 6, 200).await;
    for n in 3..=200 {
        let received = within(back.message()).await.unwrap().unwrap();
        assert_eq!(
            (received.item.unwrap().id, received.missed),
            (n.to_string(), 0)
        );
        assert_eq!(received.position.unwrap().sequence, n);
    }
    let received = within(now.message()).await.unwrap().unwrap();
    assert_eq!(received.item.unwrap().id, "6");
}

#[tokio::test]
async fn swings_that_left_the_history_are_counted() {
    let (servo, _gate) = servo(None);
    let mut server = Server::start(servo).await;
    server.ready().await;
    let mut client = server.client().await;
    let forgotten = 3;
    let swings = SWINGS_IN_MEMORY as u64 + forgotten;
    swing(&server, &mut client, 1, swings).await;
    for (history, after) in [
        (server.app.history().id().to_string(), 1),
        ("of another server".to_owned(), 0),
    ] {
        let sequence = 1;
        let position = Position { history, sequence };
        let mut back = watch(&mut client, Some(position)).await;
        let received = within(back.message()).await.unwrap().unwrap();
        assert_eq!(received.missed, forgotten - after);
        assert_eq!(received.position.unwrap().sequence, forgotten + 1);
        let received = within(back.message()).await.unwrap().unwrap();
        assert_eq!(received.missed, 0);
    }
}

async fn restarted(servo: GatedServo, dir: &std::path::Path) -> (Server, Client, History) {
    let history = History::open(dir).unwrap();
    let mut server = Server::with(servo, settings(), history.clone()).await;
    server.ready().await;
    let client = server.client().await;
    (server, client, history)
}

#[tokio::test]
async fn a_restart_changes_nothing_for_those_who_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _gate) = servo(None);
    let (mut server, mut client, history) = restarted(first, dir.path()).await;
    let mut swings = watch(&mut client, Some(Position::default())).await;
    swing(&server, &mut client, 1, 3).await;
    let mut position = None;
    for _ in 1..=2 {
        position = within(swings.message()).await.unwrap().unwrap().position;
    }
    let week = SnoozeRequest {
        duration: prost_types::Duration::try_from(Duration::from_hours(168)).ok(),
    };
    let until = within(client.snooze(week)).await.unwrap().into_inner();
    server.stop();
    server.stopped().await;
    history.close();

    let (second, _gate) = servo(None);
    let (server, mut client, history) = restarted(second, dir.path()).await;
    let status = within(client.get_status(GetStatusRequest {})).await;
    let status = status.unwrap().into_inner();
    assert_eq!((status.total_swings, status.swings), (3, 0));
    assert!(status.last_swing_at.is_some());
    assert_eq!(status.snoozed_until, until.until);
    assert_eq!(bonk(&mut client, "1").await, Outcome::Duplicate);
    assert_eq!(bonk(&mut client, "4").await, Outcome::Quiet);
    let over = within(client.snooze(SnoozeRequest::default())).await;
    assert_eq!(over.unwrap().into_inner().until, None);
    let mut swings = watch(&mut client, position).await;
    swing(&server, &mut client, 5, 6).await;
    for (id, sequence) in [("3", 3), ("5", 4), ("6", 5)] {
        let received = within(swings.message()).await.unwrap().unwrap();
        assert_eq!(
            (received.item.unwrap().id.as_str(), received.missed),
            (id, 0)
        );
        assert_eq!(received.position.unwrap().sequence, sequence);
    }
    history.close();
}

#[tokio::test]
async fn no_snooze_is_longer_than_a_week_or_negative() {
    let (servo, _gate) = servo(None);
    let mut server = Server::start(servo).await;
    server.ready().await;
    let mut client = server.client().await;
    for (seconds, nanos) in [(7 * 24 * 3600, 1), (-1, 0), (i64::MAX, i32::MIN)] {
        let duration = Some(prost_types::Duration { seconds, nanos });
        let refused = within(client.snooze(SnoozeRequest { duration })).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
}

#[tokio::test]
async fn others_of_one_container_are_counted_by_its_swing() {
    let (servo, mut gate) = servo(Some(STRIKE_US));
    let mut server = Server::start(servo).await;
    server.ready().await;
    let mut client = server.client().await;
    let mut swings = watch(&mut client, None).await;
    bonk(&mut client, "in the works").await;
    gate.reached(STRIKE_US).await;
    for n in 0..6 {
        let item = proto::bonk::BonkItem {
            pod: "web".to_owned(),
            ..item(&n.to_string())
        };
        let request = BonkRequest { item: Some(item) };
        let answer = within(client.bonk(request)).await.unwrap();
        let outcome = short(answer.into_inner().acknowledgement).1;
        let expect = if n == 0 {
            Outcome::Accepted
        } else {
            Outcome::Coalesced
        };
        assert_eq!(outcome, expect);
    }
    gate.open = None;
    assert_eq!(
        within(swings.message()).await.unwrap().unwrap().coalesced,
        0
    );
    let received = within(swings.message()).await.unwrap().unwrap();
    assert_eq!(
        (received.item.unwrap().id.as_str(), received.coalesced),
        ("0", 5)
    );
}
