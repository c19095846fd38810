//! From the boot motion to the last rest.

mod common;

use common::{BOOT, REST_US, STRIKE_US, Server, item, servo, short, within};
use proto::bonk::{Outcome, StreamBonksRequest, WatchBonksRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

#[tokio::test]
async fn health_follows_the_boot_motion_and_the_end() {
    for service in ["", "bonk.v1.BonkService"] {
        let (servo, mut gate) = servo(Some(REST_US));
        let mut server = Server::start(servo).await;
        let mut client = HealthClient::new(server.channel().await);
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let call = client.watch(request);
        let mut health = within(call).await.unwrap().into_inner();
        let mut status = async || {
            let output = within(health.message()).await.unwrap().unwrap();
            output.status()
        };
        gate.reached(REST_US).await;
        assert_eq!(status().await, ServingStatus::NotServing);
        gate.open = None;
        assert_eq!(status().await, ServingStatus::Serving);
        server.ready().await;
        server.stop();
        assert_eq!(status().await, ServingStatus::NotServing);
        server.stopped().await;
    }
}

#[tokio::test]
async fn open_streams_are_answered_to_the_end_and_do_not_hold_it_up() {
    let (servo, mut gate) = servo(Some(STRIKE_US));
    let mut server = Server::start(servo).await;
    server.ready().await;
    let mut client = server.client().await;
    let (send, items) = mpsc::channel(8);
    let call = client.stream_bonks(ReceiverStream::new(items));
    let mut answers = within(call).await.unwrap().into_inner();
    let call = client.watch_bonks(WatchBonksRequest::default());
    let mut swings = within(call).await.unwrap().into_inner();
    // Nobody can end a health watch but its client: it must not hold the end up either.
    let mut health = HealthClient::new(server.channel().await);
    let call = health.watch(HealthCheckRequest::default());
    let _health = within(call).await.unwrap();
    let mut bonk = async |id| {
        let item = Some(item(id));
        within(send.send(StreamBonksRequest { item }))
            .await
            .unwrap();
        let answer = within(answers.message()).await;
        answer.map(|answer| short(answer.unwrap().acknowledgement).1)
    };
    assert_eq!(bonk("mid-swing").await.unwrap(), Outcome::Accepted);
    gate.reached(STRIKE_US).await;
    assert_eq!(bonk("waiting").await.unwrap(), Outcome::Accepted);

    server.stop();
    let gone = within(swings.message()).await.unwrap_err();
    assert_eq!(gone.code(), Code::Unavailable, "{gone}");
    assert_eq!(bonk("late").await.unwrap(), Outcome::Rejected);
    assert_eq!(bonk("waiting").await.unwrap(), Outcome::Duplicate);
    gate.open = None;
    let app = server.app.clone();
    let address = server.address;
    server.stopped().await;

    let gone = within(answers.message()).await.unwrap_err();
    assert_eq!(gone.code(), Code::Unavailable, "{gone}");
    assert_eq!(app.status().swings, 1, "what waited was dropped");
    let (rest, strike) = (Some(REST_US), Some(STRIKE_US));
    let moves = gate.moves.lock().unwrap().clone();
    let moves = moves.strip_prefix(&BOOT).unwrap();
    assert_eq!(moves, [strike, rest, None, rest, None]);
    let refused = within(tokio::net::TcpStream::connect(address)).await;
    assert!(refused.is_err(), "still listening");
}

#[tokio::test]
async fn a_servo_that_hangs_does_not_hold_the_end_up() {
    let (servo, mut gate) = servo(Some(REST_US));
    let mut server = Server::start(servo).await;
    gate.reached(REST_US).await;
    server.stop();
    server.stopped().await;
    gate.open = None;
}

#[tokio::test]
async fn a_stop_waits_for_the_arm_without_connections() {
    let (servo, gate) = servo(None);
    let mut server = Server::start(servo).await;
    server.ready().await;
    server.stop();
    server.stopped().await;
    let moves = gate.moves.lock().unwrap().clone();
    assert_eq!(moves, [&BOOT[..], &[Some(REST_US), None]].concat());
}
