#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a helper of tests may panic"
)]

//! A hub that lies harms nobody who follows it.

mod common;

use std::net::SocketAddr;
use std::pin::Pin;

use bonker_gpio::{Follow, History};
use common::{Server, item, servo, settings, within};
use futures::{Stream, stream};
use proto::bonk::bonk_service_server::{BonkService, BonkServiceServer};
use proto::bonk::{
    BonkItem, BonkRequest, BonkResponse, GetStatusRequest, GetStatusResponse, Position,
    SnoozeRequest, SnoozeResponse, StreamBonksRequest, StreamBonksResponse, WatchBonksRequest,
    WatchBonksResponse,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Sends each caller the same swings, and then nothing.
struct Liar {
    swings: Vec<WatchBonksResponse>,
    requested: mpsc::UnboundedSender<Option<Position>>,
}

fn position(history: &str, sequence: u64) -> Position {
    let history = history.to_owned();
    Position { history, sequence }
}

#[tonic::async_trait]
impl BonkService for Liar {
    type StreamBonksStream = Answers<StreamBonksResponse>;
    type WatchBonksStream = Answers<WatchBonksResponse>;

    async fn stream_bonks(
        &self,
        _: Request<Streaming<StreamBonksRequest>>,
    ) -> Result<Response<Self::StreamBonksStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn bonk(&self, _: Request<BonkRequest>) -> Result<Response<BonkResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn watch_bonks(
        &self,
        request: Request<WatchBonksRequest>,
    ) -> Result<Response<Self::WatchBonksStream>, Status> {
        self.requested.send(request.into_inner().after).unwrap();
        let swings = stream::iter(self.swings.clone().into_iter().map(Ok));
        Ok(Response::new(Box::pin(swings)))
    }

    async fn get_status(
        &self,
        _: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        Ok(Response::new(GetStatusResponse {
            position: Some(position("\x1b[2J", u64::MAX)),
            total_swings: u64::MAX,
            ..GetStatusResponse::default()
        }))
    }

    async fn snooze(&self, _: Request<SnoozeRequest>) -> Result<Response<SnoozeResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

async fn liar(
    swings: Vec<WatchBonksResponse>,
) -> (SocketAddr, mpsc::UnboundedReceiver<Option<Position>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (requested, requests) = mpsc::unbounded_channel();
    let serving = tonic::transport::Server::builder()
        .add_service(BonkServiceServer::new(Liar { swings, requested }))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serving);
    (address, requests)
}

fn swing(item: Option<BonkItem>, history: &str, sequence: u64, missed: u64) -> WatchBonksResponse {
    WatchBonksResponse {
        item,
        position: Some(position(history, sequence)),
        missed,
        ..WatchBonksResponse::default()
    }
}

#[tokio::test]
async fn made_up_swings_of_a_hub_are_rejected_and_the_rest_accepted() {
    let impossible = Some(prost_types::Timestamp {
        seconds: i64::MAX,
        nanos: i32::MIN,
    });
    let odd = BonkItem {
        time: impossible,
        severity: 99,
        ..item("odd")
    };
    let (hub, mut requested) = liar(vec![
        swing(None, "a", u64::MAX, u64::MAX),
        swing(Some(item("")), "", 0, u64::MAX),
        swing(Some(item(&"x".repeat(2000))), "b", 3, 0),
        WatchBonksResponse::default(),
        swing(Some(odd), "c", u64::MAX, u64::MAX),
        swing(Some(item("last")), "kept", 7, 0),
        // Too large to be kept, or to be sent back.
        swing(Some(item("large")), &"h".repeat(1 << 20), 8, 0),
    ])
    .await;
    let (servo, _gate) = servo(None);
    let mut own = Server::with(servo, settings(), History::in_memory()).await;
    own.ready().await;
    let mut swings = own.app.watch();
    let follow = tokio::spawn(Follow::new(&format!("http://{hub}"), own.app.clone()).run());
    for wanted in ["odd", "last"] {
        let swung = within(swings.recv()).await.unwrap();
        assert_eq!(swung.bonk.id, wanted);
    }
    let first = within(requested.recv()).await.unwrap();
    assert_eq!(first, Some(position("\x1b[2J", u64::MAX)));
    // It called again, from where it was.
    for _ in 0..2 {
        let again = within(requested.recv()).await.unwrap();
        assert_eq!(again, Some(position("kept", 7)));
    }
    assert!(swings.try_recv().is_err());
    follow.abort();
    own.stop();
    own.stopped().await;
}
