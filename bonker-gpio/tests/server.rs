//! The service over a real connection.

mod common;

use bonker_gpio::{MAX_ID_BYTES, MAX_TEXT_BYTES, Settings};
use common::{STRIKE_US, Server, item, servo, short, within};
use proto::bonk::{
    BonkItem, BonkRequest, GetStatusRequest, Outcome, StreamBonksRequest, WatchBonksRequest,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

const NONE: Outcome = Outcome::Unspecified;

#[tokio::test]
async fn a_stream_is_answered_item_by_item_while_the_servo_is_busy() {
    let (servo, mut gate) = servo(Some(STRIKE_US));
    let mut server = Server::start(servo).await;
    server.ready().await;
    let (send, items) = mpsc::channel(8);
    let mut client = server.client().await;
    let call = client.stream_bonks(ReceiverStream::new(items));
    let mut answers = within(call).await.unwrap().into_inner();

    let long = "x".repeat(MAX_ID_BYTES + 1);
    let cases = [
        (Some(item("a")), ("a", Outcome::Accepted, NONE)),
        (None, ("", Outcome::Rejected, NONE)),
        (Some(item("")), ("", Outcome::Rejected, NONE)),
        (
            Some(item(&long)),
            (&long[..MAX_ID_BYTES], Outcome::Rejected, NONE),
        ),
        (Some(item("b")), ("b", Outcome::Accepted, NONE)),
        (
            Some(item("a")),
            ("a", Outcome::Duplicate, Outcome::Accepted),
        ),
    ];
    // The first answer comes before anything else is sent.
    let mut expected = Vec::new();
    for (n, (item, (id, outcome, first))) in cases.into_iter().enumerate() {
        within(send.send(StreamBonksRequest { item }))
            .await
            .unwrap();
        expected.push((id.to_owned(), outcome, first));
        if n == 0 {
            let answer = within(answers.message()).await.unwrap().unwrap();
            assert_eq!(short(answer.acknowledgement), expected.remove(0));
            gate.reached(STRIKE_US).await;
        }
    }
    for expect in expected {
        let answer = within(answers.message()).await.unwrap().unwrap();
        let answer = answer.acknowledgement.unwrap();
        let says_why = !answer.message.is_empty();
        assert_eq!(says_why, answer.outcome() == Outcome::Rejected);
        assert_eq!(short(Some(answer)), expect);
    }
    drop(send);
    assert!(within(answers.message()).await.unwrap().is_none());
    assert_eq!(
        server.app.status().swings,
        0,
        "the servo was held all the time"
    );
}

#[tokio::test]
async fn a_full_queue_says_so_and_status_counts_everything() {
    let (servo, mut gate) = servo(Some(STRIKE_US));
    let mut server = Server::start(servo).await;
    server.ready().await;
    let mut client = server.client().await;
    let mut bonk = async |id: &str| {
        let item = Some(item(id));
        let answer = within(client.bonk(BonkRequest { item })).await.unwrap();
        short(answer.into_inner().acknowledgement).1
    };
    assert_eq!(bonk("in the works").await, Outcome::Accepted);
    gate.reached(STRIKE_US).await;
    let waiting = Settings::default().queue;
    for n in 0..waiting {
        assert_eq!(bonk(&n.to_string()).await, Outcome::Accepted);
    }
    assert_eq!(bonk("late").await, Outcome::Full);
    assert_eq!(bonk("late").await, Outcome::Full);
    assert_eq!(bonk("0").await, Outcome::Duplicate);
    assert_eq!(bonk("").await, Outcome::Rejected);

    let status = within(client.get_status(GetStatusRequest {})).await;
    let status = status.unwrap().into_inner();
    assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(status.backend, "gated");
    assert_eq!(status.backend_reason, "a test");
    let capacity = u32::try_from(waiting).unwrap();
    assert_eq!(status.queue_length, capacity);
    assert_eq!(status.queue_capacity, capacity);
    assert_eq!(status.accepted, u64::from(capacity) + 1);
    assert_eq!((status.duplicates, status.full, status.rejected), (1, 2, 1));
    assert_eq!((status.swings, status.failed_swings), (0, 0));
}

#[tokio::test]
async fn an_answer_repeats_the_first_one() {
    let (servo, _gate) = servo(None);
    let mut server = Server::start(servo).await;
    server.ready().await;
    let mut client = server.client().await;
    for expect in [
        ("a".to_owned(), Outcome::Accepted, NONE),
        ("a".to_owned(), Outcome::Duplicate, Outcome::Accepted),
    ] {
        let item = Some(item("a"));
        let answer = within(client.bonk(BonkRequest { item })).await.unwrap();
        assert_eq!(short(answer.into_inner().acknowledgement), expect);
    }
}

#[tokio::test]
async fn a_watcher_gets_every_swing_or_how_many_it_missed() {
    // More than the history's memory holds of such long ones.
    const SWINGS: u64 = 500;
    let (servo, _gate) = servo(None);
    let mut server = Server::start(servo).await;
    server.ready().await;
    let mut client = server.client().await;
    let mut own = server.app.watch();
    let call = client.watch_bonks(WatchBonksRequest::default());
    let mut attentive = within(call).await.unwrap().into_inner();
    let call = client.watch_bonks(WatchBonksRequest::default());
    let mut idle = within(call).await.unwrap().into_inner();

    // More than the flow control's windows and the server's buffers hold.
    let text = "x".repeat(MAX_TEXT_BYTES);
    for n in 1..=SWINGS {
        let item = BonkItem {
            source: text.clone(),
            node: text.clone(),
            namespace: text.clone(),
            pod: text.clone(),
            // Else all would be one container.
            container: n.to_string() + &text,
            comm: text.clone(),
            summary: text.clone() + "cut off",
            ..item(&n.to_string())
        };
        let request = BonkRequest { item: Some(item) };
        within(client.bonk(request)).await.unwrap();
        assert_eq!(within(own.recv()).await.unwrap().swings, n);
        let received = within(attentive.message()).await.unwrap().unwrap();
        let item = received.item.unwrap();
        assert_eq!(
            (item.id, received.swings, received.missed),
            (n.to_string(), n, 0)
        );
        assert_eq!(item.summary, text);
        assert!(received.swung_at.is_some());
    }
    let (mut last, mut missed) = (0, 0);
    while last < SWINGS {
        let received = within(idle.message()).await.unwrap().unwrap();
        assert_eq!(received.swings, last + received.missed + 1);
        last = received.swings;
        missed += received.missed;
    }
    assert!(missed > 0, "the idle watcher missed nothing");
}

#[tokio::test]
async fn a_message_over_the_bound_is_refused() {
    let (servo, _gate) = servo(None);
    let mut server = Server::start(servo).await;
    server.ready().await;
    let item = Some(BonkItem {
        summary: "x".repeat(1 << 20),
        ..item("a")
    });
    let mut client = server.client().await;
    let refused = within(client.bonk(BonkRequest { item })).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
}

#[tokio::test]
async fn reflection_lists_the_services() {
    let (servo, _gate) = servo(None);
    let server = Server::start(servo).await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(server.channel().await);
    let call = client.server_reflection_info(tokio_stream::once(request));
    let mut answers = within(call).await.unwrap().into_inner();
    let answer = within(answers.message()).await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("not a list: {answer:?}");
    };
    let names: Vec<String> = list.service.into_iter().map(|known| known.name).collect();
    for name in ["bonk.v1.BonkService", "grpc.health.v1.Health"] {
        assert!(
            names.iter().any(|known| known == name),
            "{name} in {names:?}"
        );
    }
}
