//! Followers of real bonkers, across breaks.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test, in helpers too"
)]

mod common;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bonker_gpio::{App, Follow, FollowCounters, History, Settings};
use common::program::Running;
use common::{STRIKE_US, Server, item, servo, settings, short, within};
use proto::bonk::bonk_service_client::BonkServiceClient;
use proto::bonk::{
    BonkItem, BonkRequest, Outcome, Position, WatchBonksRequest, WatchBonksResponse,
};
use rustix::process::Signal;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tonic::Streaming;
use tonic::transport::Endpoint;

/// With room for all of a test's bonks, none of which gets too old.
fn patient() -> Settings {
    Settings {
        queue: 1000,
        expire: Duration::from_hours(24),
        ..settings()
    }
}

const ANYWHERE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A bonker whose servo moves, with its state in `dir`.
async fn bonker(address: SocketAddr, dir: &Path) -> Server {
    let (servo, _gate) = servo(None);
    let history = History::open(dir).unwrap();
    let mut server = Server::at(address, servo, patient(), history).await;
    server.ready().await;
    server
}

/// Stops as the program does: follows no more, stops, keeps its state.
async fn stop(mut server: Server, follower: Option<Follower>) {
    if let Some(follower) = follower {
        follower.end().await;
    }
    let history = server.app.history().clone();
    server.stop();
    server.stopped().await;
    history.close();
}

struct Follower {
    task: JoinHandle<Infallible>,
    app: App,
}

impl Follower {
    fn start(hub: SocketAddr, own: &Server) -> Self {
        let follow = Follow::new(&format!("http://{hub}"), own.app.clone());
        let task = tokio::spawn(follow.run());
        let app = own.app.clone();
        Self { task, app }
    }

    fn counters(&self) -> &FollowCounters {
        self.app.following().unwrap()
    }

    /// Waits until the hub sends its swings.
    async fn connected(&self) {
        within(async {
            while self.counters().connected.get() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    async fn end(self) {
        self.task.abort();
        let _cancelled = within(self.task).await;
    }
}

async fn bonk(server: &Server, ids: impl IntoIterator<Item = u64>) {
    let mut client = server.client().await;
    for id in ids {
        let item = Some(item(&id.to_string()));
        let answer = within(client.bonk(BonkRequest { item })).await.unwrap();
        let outcome = short(answer.into_inner().acknowledgement).1;
        assert_eq!(outcome, Outcome::Accepted);
    }
}

/// Waits until the bonker swung `swings` times in its life.
async fn swung(app: &App, swings: u64) {
    let mut live = app.watch();
    within(async {
        while app.history().total() < swings {
            match live.recv().await {
                Ok(_) | Err(RecvError::Lagged(_)) => (),
                Err(RecvError::Closed) => panic!("it ended"),
            }
        }
    })
    .await;
}

/// What it ever swung for, oldest first.
fn ids(app: &App) -> Vec<String> {
    let recent = app.history().recent(10_000);
    let ids = recent.iter().rev().map(|swung| swung.bonk.id.clone());
    ids.collect()
}

fn up_to(last: u64) -> Vec<String> {
    (1..=last).map(|id| id.to_string()).collect()
}

#[tokio::test]
async fn each_swing_is_followed_once_and_in_order_over_restarts_of_both() {
    let (hub_dir, own_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut hub = bonker(ANYWHERE, hub_dir.path()).await;
    let address = hub.address;
    let mut own = bonker(ANYWHERE, own_dir.path()).await;
    let mut follower = Follower::start(address, &own);
    follower.connected().await;
    let mut sent = 0;
    for round in 0..3 {
        bonk(&hub, sent + 1..=sent + 40).await;
        sent += 40;
        // In the middle of them.
        swung(&own.app, sent - 20).await;
        swung(&hub.app, sent).await;
        if round == 1 {
            stop(own, Some(follower)).await;
            own = bonker(ANYWHERE, own_dir.path()).await;
            follower = Follower::start(address, &own);
        } else {
            stop(hub, None).await;
            hub = bonker(address, hub_dir.path()).await;
        }
        bonk(&hub, sent + 1..=sent + 5).await;
        sent += 5;
    }
    swung(&own.app, sent).await;
    assert_eq!(ids(&own.app), up_to(sent));
    let following = follower.counters();
    assert_eq!(
        (following.missed.get(), following.histories_lost.get()),
        (0, 0)
    );
    assert_eq!(following.reconnects.get(), 1);
    stop(own, Some(follower)).await;
    stop(hub, None).await;
}

#[tokio::test]
async fn swings_that_waited_for_the_arm_are_requested_again() {
    let (hub_dir, own_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let hub = bonker(ANYWHERE, hub_dir.path()).await;
    let (held, mut gate) = servo(Some(STRIKE_US));
    let history = History::open(own_dir.path()).unwrap();
    let small = Settings {
        queue: 3,
        ..patient()
    };
    let mut own = Server::with(held, small, history).await;
    own.ready().await;
    let follower = Follower::start(hub.address, &own);
    follower.connected().await;
    bonk(&hub, 1..=20).await;
    gate.reached(STRIKE_US).await;
    swung(&hub.app, 20).await;
    // The first is under way, three wait, and the hub keeps the others.
    within(async {
        while follower.counters().taken.get() < 4 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let status = own.app.status();
    assert_eq!(status.queue_length, 3);
    assert_eq!(status.tally.count(bonker_gpio::Outcome::Full), 0);
    follower.end().await;
    own.stop();
    gate.open = None;
    let history = own.app.history().clone();
    own.stopped().await;
    history.close();

    let own = bonker(ANYWHERE, own_dir.path()).await;
    let follower = Follower::start(hub.address, &own);
    swung(&own.app, 20).await;
    assert_eq!(ids(&own.app), up_to(20));
    follower.end().await;
}

#[tokio::test]
async fn a_hub_that_lost_its_history_is_followed_on_and_logged() {
    let own_dir = tempfile::tempdir().unwrap();
    let own = bonker(ANYWHERE, own_dir.path()).await;
    let hub_dir = tempfile::tempdir().unwrap();
    let hub = bonker(ANYWHERE, hub_dir.path()).await;
    let address = hub.address;
    let follower = Follower::start(address, &own);
    follower.connected().await;
    bonk(&hub, 1..=3).await;
    swung(&own.app, 3).await;
    stop(hub, None).await;
    let hub_dir = tempfile::tempdir().unwrap();
    let hub = bonker(address, hub_dir.path()).await;
    bonk(&hub, 4..=5).await;
    swung(&own.app, 5).await;
    assert_eq!(ids(&own.app), up_to(5));
    assert_eq!(follower.counters().histories_lost.get(), 1);
    assert_eq!(follower.counters().missed.get(), 0);
    follower.end().await;
}

#[tokio::test]
async fn swings_that_left_the_hubs_history_are_counted() {
    let own_dir = tempfile::tempdir().unwrap();
    let mut own = bonker(ANYWHERE, own_dir.path()).await;
    let (moves, _gate) = servo(None);
    let mut hub = Server::with(moves, patient(), History::in_memory()).await;
    hub.ready().await;
    let follower = Follower::start(hub.address, &own);
    follower.connected().await;
    bonk(&hub, 1..=1).await;
    swung(&own.app, 1).await;
    stop(own, Some(follower)).await;
    let kept = bonker_gpio::SWINGS_IN_MEMORY as u64;
    let forgotten = 7;
    let mut sent = 1;
    while sent < 1 + forgotten + kept {
        let next = (sent + 500).min(1 + forgotten + kept);
        bonk(&hub, sent + 1..=next).await;
        sent = next;
        swung(&hub.app, sent).await;
    }
    own = bonker(ANYWHERE, own_dir.path()).await;
    let follower = Follower::start(hub.address, &own);
    swung(&own.app, 1 + kept).await;
    assert_eq!(follower.counters().missed.get(), forgotten);
    assert_eq!(follower.counters().histories_lost.get(), 0);
    follower.end().await;
}

#[tokio::test]
async fn a_chain_ends_and_a_ring_stops_by_itself() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut ring = Vec::new();
    for dir in &dirs {
        ring.push(bonker(ANYWHERE, dir.path()).await);
    }
    let mut followers = Vec::new();
    for (n, own) in ring.iter().enumerate() {
        let hub = ring[(n + ring.len() - 1) % ring.len()].address;
        let follower = Follower::start(hub, own);
        follower.connected().await;
        followers.push(follower);
    }
    bonk(&ring[0], 1..=30).await;
    for server in &ring {
        swung(&server.app, 30).await;
    }
    // Each was offered its own bonks by the last one, and no bonk went round twice.
    within(async {
        while followers[0].counters().taken.get() < 30 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    bonk(&ring[1], 31..=31).await;
    for server in &ring {
        swung(&server.app, 31).await;
        assert_eq!(ids(&server.app), up_to(31));
    }
    let taken: Vec<u64> = followers.iter().map(|f| f.counters().taken.get()).collect();
    assert!(taken.iter().sum::<u64>() <= 3 * 31, "{taken:?}");
}

#[tokio::test]
async fn the_own_desk_has_the_last_word() {
    let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let hub = bonker(ANYWHERE, dirs[0].path()).await;
    let own = bonker(ANYWHERE, dirs[1].path()).await;
    let follower = Follower::start(hub.address, &own);
    follower.connected().await;
    own.app.snooze(Duration::from_mins(1));
    bonk(&hub, 1..=2).await;
    within(async {
        while follower.counters().taken.get() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    own.app.snooze(Duration::ZERO);
    let mut client = hub.client().await;
    let old = BonkItem {
        time: Some(prost_types::Timestamp::default()),
        ..item("old")
    };
    let answer = within(client.bonk(BonkRequest { item: Some(old) })).await;
    let outcome = short(answer.unwrap().into_inner().acknowledgement).1;
    assert_eq!(outcome, Outcome::Expired);
    bonk(&hub, 3..=3).await;
    swung(&own.app, 1).await;
    assert_eq!(ids(&own.app), ["3"]);
    // A quiet item is not requested again.
    stop(own, Some(follower)).await;
    let own = bonker(ANYWHERE, dirs[1].path()).await;
    let follower = Follower::start(hub.address, &own);
    bonk(&hub, 4..=4).await;
    swung(&own.app, 2).await;
    assert_eq!(ids(&own.app), ["3", "4"]);
    assert_eq!(follower.counters().taken.get(), 1);
    follower.end().await;
}

#[tokio::test]
async fn a_follower_that_is_killed_goes_on_where_its_state_is() {
    let (hub_dir, own_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let hub = bonker(ANYWHERE, hub_dir.path()).await;
    let url = format!("http://{}", hub.address);
    let state = own_dir.path().to_str().unwrap();
    let more = ["--hold=1ms", "--follow", &url, "--state", state];
    let (follower, own) = Running::serve("127.0.0.1:0", &more).await;
    let mut watched = watch(&own).await;
    // The first is sent until it is heard: there is nothing to go on from before that.
    let mut first = 0;
    let begun = async {
        loop {
            first += 1;
            bonk(&hub, [first]).await;
            let received = tokio::time::timeout(Duration::from_millis(500), watched.message());
            if received.await.is_ok() {
                return;
            }
        }
    };
    within(begun).await;
    bonk(&hub, first + 1..=first + 6).await;
    for _ in 0..3 {
        within(watched.message()).await.unwrap().unwrap();
    }
    let (status, _) = follower.stop(Signal::KILL).await;
    assert!(!status.success());
    bonk(&hub, first + 7..=first + 9).await;
    swung(&hub.app, first + 9).await;
    let (follower, own) = Running::serve("127.0.0.1:0", &more).await;
    let mut watched = watch(&own).await;
    let mut received = Vec::new();
    while received.last() != Some(&(first + 9)) {
        let swing = within(watched.message()).await.unwrap().unwrap();
        received.push(swing.item.unwrap().id.parse::<u64>().unwrap());
    }
    assert!(received[0] <= first);
    assert_eq!(received, (received[0]..=first + 9).collect::<Vec<_>>());
    let (_, _, output) = follower.end(Signal::TERM).await;
    assert!(output.contains("following url="), "{output}");
}

/// What the bonker at `url` ever swung for, and swings for from now on.
async fn watch(url: &str) -> Streaming<WatchBonksResponse> {
    let endpoint = Endpoint::from_shared(url.to_owned()).unwrap();
    let channel = within(endpoint.connect()).await.unwrap();
    let after = Some(Position::default());
    let request = WatchBonksRequest { after };
    let mut client = BonkServiceClient::new(channel);
    let call = client.watch_bonks(request);
    within(call).await.unwrap().into_inner()
}
