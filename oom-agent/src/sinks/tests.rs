//! The bonk sink against a bonker in this process.

mod tls;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proto::bonk::bonk_service_server::{BonkService, BonkServiceServer};
use proto::bonk::*;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use super::{Secrets, Sink, start_bonker};
use crate::incident::{Incident, Pod, Victim};
use crate::k8s::fake::leak;
use crate::metrics::Metrics;
use crate::receipts::Receipts;
use crate::report::Report;
use crate::warn::Warning;
use crate::warn::tests::near;
use pressure::Level;

const WITHIN: Duration = Duration::from_mins(3);
const IDLE: Duration = Duration::from_mins(10);

pub(super) fn incident(n: u32) -> Arc<Incident> {
    Arc::new(Incident {
        victim_count: 1,
        victims: vec![Victim {
            process: oom_capture::Process {
                pid: 4242,
                comm: Some("tail".to_owned()),
                ..oom_capture::Process::default()
            },
            pod: Some(Pod {
                namespace: Some("shop".to_owned()),
                name: Some("hungry".to_owned()),
                uid: None,
            }),
            ..Victim::default()
        }],
        stamp_ns: service::clock::monotonic_ns(),
        ..Incident::new(
            format!("6f1c0a52-{n}-4242"),
            "2026-11-21T09:00:00.5Z".parse().unwrap(),
            "node-a".to_owned(),
        )
    })
}

/// The answer to an item that was received n times before.
type Answer = fn(&BonkItem, usize) -> Outcome;

/// Forwards every item to the test.
#[derive(Clone)]
struct Bonker {
    items: mpsc::Sender<BonkItem>,
    acknowledges: bool,
    answer: Answer,
    seen: Arc<Mutex<Vec<String>>>,
    /// Notified of each opened stream.
    streams: mpsc::Sender<()>,
    /// Ends a stream in order after this long without an item.
    idle: Duration,
    /// Ends a stream in order after this many items.
    items_a_stream: usize,
}

impl Bonker {
    /// Accepts everything.
    fn new() -> (Self, mpsc::Receiver<BonkItem>, mpsc::Receiver<()>) {
        let (items, received) = mpsc::channel(1000);
        let (streams, opened) = mpsc::channel(1000);
        let bonker = Self {
            items,
            acknowledges: true,
            answer: |_, _| Outcome::Accepted,
            seen: Arc::default(),
            streams,
            idle: IDLE,
            items_a_stream: usize::MAX,
        };
        (bonker, received, opened)
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl BonkService for Bonker {
    type StreamBonksStream = Answers<StreamBonksResponse>;
    type WatchBonksStream = Answers<WatchBonksResponse>;

    async fn stream_bonks(
        &self,
        request: Request<Streaming<StreamBonksRequest>>,
    ) -> Result<Response<Self::StreamBonksStream>, Status> {
        let (mut requests, bonker) = (request.into_inner(), self.clone());
        let (answers, stream) = mpsc::channel(1);
        let _opened = self.streams.try_send(());
        tokio::spawn(async move {
            // The first item of a busy machine may be late.
            let mut idle = IDLE;
            for _ in 0..bonker.items_a_stream {
                let Ok(Some(Ok(request))) = timeout(idle, requests.next()).await else {
                    return;
                };
                idle = bonker.idle;
                let item = request.item.unwrap();
                let id = item.id.clone();
                let times = {
                    let mut seen = bonker.seen.lock().unwrap();
                    let times = seen.iter().filter(|seen| **seen == id).count();
                    seen.push(id.clone());
                    times
                };
                let outcome = (bonker.answer)(&item, times);
                bonker.items.send(item).await.unwrap();
                if !bonker.acknowledges {
                    return;
                }
                let acknowledgement = Acknowledgement {
                    id,
                    outcome: outcome.into(),
                    ..Acknowledgement::default()
                };
                let answer = StreamBonksResponse {
                    acknowledgement: Some(acknowledgement),
                };
                answers.send(Ok(answer)).await.unwrap();
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn bonk(&self, _: Request<BonkRequest>) -> Result<Response<BonkResponse>, Status> {
        Err(Status::unimplemented("not used here"))
    }

    async fn watch_bonks(
        &self,
        _: Request<WatchBonksRequest>,
    ) -> Result<Response<Self::WatchBonksStream>, Status> {
        Err(Status::unimplemented("not used here"))
    }

    async fn get_status(
        &self,
        _: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        Err(Status::unimplemented("not used here"))
    }

    async fn snooze(&self, _: Request<SnoozeRequest>) -> Result<Response<SnoozeResponse>, Status> {
        Err(Status::unimplemented("not used here"))
    }
}

fn serve(
    listener: TcpListener,
    acknowledges: bool,
) -> (mpsc::Receiver<BonkItem>, tokio::task::JoinHandle<()>) {
    let (mut bonker, received, _) = Bonker::new();
    bonker.acknowledges = acknowledges;
    (received, run(bonker, listener))
}

fn run(bonker: Bonker, listener: TcpListener) -> tokio::task::JoinHandle<()> {
    let server = tonic::transport::Server::builder()
        .add_service(BonkServiceServer::new(bonker))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(async move { server.await.unwrap() })
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn sink(address: SocketAddr) -> Sink {
    start_bonker(
        &format!("http://{address}").parse().unwrap(),
        Secrets::default(),
        true,
        &Metrics::default(),
        Receipts::default(),
    )
}

#[tokio::test]
async fn every_incident_is_delivered_once_in_order_and_counted() {
    let (listener, address) = listen().await;
    let (mut received, _server) = serve(listener, true);
    let metrics = Metrics::default();
    let sink = start_bonker(
        &format!("http://{address}").parse().unwrap(),
        Secrets::default(),
        true,
        &metrics,
        Receipts::default(),
    );
    for n in 0..100 {
        sink.offer(&incident(n).into());
    }
    for n in 0..100 {
        let item = timeout(WITHIN, received.recv()).await.unwrap().unwrap();
        assert_eq!(item.id, format!("6f1c0a52-{n}-4242"));
        assert_eq!(
            (item.namespace.as_str(), item.pod.as_str()),
            ("shop", "hungry")
        );
        assert_eq!(
            item.summary,
            "tail (pid 4242) was OOM-killed in pod shop/hungry"
        );
        assert_eq!(item.time.unwrap().nanos, 500_000_000);
    }
    let counts = timeout(WITHIN, sink.finish()).await.unwrap();
    assert_eq!(counts.delivered.get(), 100);
    assert_eq!(counts.pending(), 0);
    let text = metrics.encode(0).unwrap();
    let latencies =
        format!(r#"oom_agent_sink_latency_seconds_count{{sink="bonker http://{address}"}} 100"#);
    assert!(text.contains(&latencies), "{text}");
}

#[tokio::test]
async fn a_bonk_carries_the_minute_before() {
    let (listener, address) = listen().await;
    let (mut received, _server) = serve(listener, true);
    let sink = sink(address);
    let mut leaking = Incident::clone(&incident(1));
    leaking.before = Some(leak());
    sink.offer(&leaking.into());
    let item = timeout(WITHIN, received.recv()).await.unwrap().unwrap();
    assert_eq!(item.usage_permille, [500, 750, 1000]);
    assert_eq!(item.verdict, "leak");
    let words = " — a leak: +1.0 MiB/s, from half to the limit in 32 s";
    assert!(item.summary.ends_with(words), "{}", item.summary);
    timeout(WITHIN, sink.finish()).await.unwrap();
}

#[tokio::test]
async fn a_warning_is_sent_once_and_only_while_it_is_fresh() {
    let (listener, address) = listen().await;
    let (mut bonker, mut received, _opened) = Bonker::new();
    bonker.answer = |item, _| match item.id.as_str() {
        "refused" => Outcome::Full,
        _ => Outcome::Accepted,
    };
    let _server = run(bonker, listener);
    let metrics = Metrics::default();
    let url = format!("http://{address}").parse().unwrap();
    let sink = start_bonker(
        &url,
        Secrets::default(),
        true,
        &metrics,
        Receipts::default(),
    );
    let mut old = near(Level::Warning);
    old.crossing.sample.at_ns = 1;
    let refused = Warning {
        id: "refused".to_owned(),
        ..near(Level::Warning)
    };
    for warning in [old, refused, near(Level::Critical)] {
        sink.offer(&Report::Warning(Arc::new(warning)));
    }
    let item = timeout(WITHIN, received.recv()).await.unwrap().unwrap();
    assert_eq!(item.id, "refused");
    assert_eq!(item.severity(), Severity::Warning);
    let item = timeout(WITHIN, received.recv()).await.unwrap().unwrap();
    assert_eq!(item.severity(), Severity::Critical);
    assert_eq!(
        [item.namespace, item.pod, item.container, item.source],
        ["shop", "hungry", "main", "oom-agent"]
    );
    assert!(item.summary.contains("at 94 % of its memory limit"));
    // A kill is sent as before.
    sink.offer(&incident(1).into());
    let item = timeout(WITHIN, received.recv()).await.unwrap().unwrap();
    assert_eq!(item.severity(), Severity::Kill);
    let counts = timeout(WITHIN, sink.finish()).await.unwrap();
    assert_eq!((counts.delivered.get(), counts.failed.get()), (1, 0));
    let warned = &metrics.warnings;
    assert_eq!((warned.bonked.get(), warned.unbonked.get()), (1, 2));
    assert!(received.try_recv().is_err(), "nothing is sent again");
}

#[tokio::test]
async fn a_sink_that_does_not_warn_takes_kills_only() {
    let (listener, address) = listen().await;
    let (mut received, _server) = serve(listener, true);
    let (metrics, url) = (
        Metrics::default(),
        format!("http://{address}").parse().unwrap(),
    );
    let sink = start_bonker(
        &url,
        Secrets::default(),
        false,
        &metrics,
        Receipts::default(),
    );
    sink.offer(&Report::Warning(Arc::new(near(Level::Critical))));
    sink.offer(&incident(1).into());
    let item = timeout(WITHIN, received.recv()).await.unwrap().unwrap();
    assert_eq!(item.severity(), Severity::Kill);
    timeout(WITHIN, sink.finish()).await.unwrap();
    assert!(received.try_recv().is_err());
}

#[tokio::test]
async fn a_bonker_that_comes_back_gets_no_old_warnings() {
    let (listener, address) = listen().await;
    drop(listener);
    let metrics = Metrics::default();
    let url = format!("http://{address}").parse().unwrap();
    let sink = start_bonker(
        &url,
        Secrets::default(),
        true,
        &metrics,
        Receipts::default(),
    );
    for _ in 0..10 {
        sink.offer(&Report::Warning(Arc::new(near(Level::Warning))));
    }
    // Each leaves the queue: none waits for the bonker.
    let taken = async {
        while metrics.warnings.unbonked.get() < 10 {
            tokio::task::yield_now().await;
        }
    };
    timeout(WITHIN, taken).await.unwrap();
    assert_eq!(
        metrics
            .sink(&format!("bonker http://{address}"))
            .failed
            .get(),
        0
    );
    drop(timeout(Duration::ZERO, sink.finish()).await);
}

#[tokio::test]
async fn an_unacknowledged_bonk_is_sent_again_after_a_break() {
    let (listener, address) = listen().await;
    let (mut received, server) = serve(listener, false);
    let sink = sink(address);
    sink.offer(&incident(1).into());
    let first = timeout(WITHIN, received.recv()).await.unwrap().unwrap();
    // The bonker dies between the bonk and its acknowledgement, and comes back on its port.
    server.abort();
    assert!(server.await.unwrap_err().is_cancelled());
    let listener = timeout(WITHIN, async {
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => return listener,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await
    .unwrap();
    let (mut received, _server) = serve(listener, true);
    let again = timeout(WITHIN, received.recv()).await.unwrap().unwrap();
    assert_eq!(again.id, first.id);
    let counts = timeout(WITHIN, sink.finish()).await.unwrap();
    assert_eq!(counts.delivered.get(), 1);
}

#[tokio::test]
async fn a_bonker_that_is_down_costs_no_more_than_its_bounded_queue() {
    let (listener, address) = listen().await;
    drop(listener);
    let sink = sink(address);
    for n in 0..1000 {
        sink.offer(&incident(n).into());
    }
    let counts = sink.counts.clone();
    assert_eq!(counts.overflowed.get(), 1000 - 256);
    assert_eq!(counts.pending(), 256);
    // Neither offering nor a shutdown that is given up waits.
    drop(timeout(Duration::ZERO, sink.finish()).await);
}

/// Runs on the real clock: a paused one runs ahead of the traffic between two sockets, and answers would
/// seem late.
#[tokio::test]
async fn the_end_of_an_idle_stream_is_no_failure_and_loses_nothing() {
    let (listener, address) = listen().await;
    let (mut bonker, mut received, mut opened) = Bonker::new();
    bonker.idle = Duration::from_millis(1200);
    let _server = run(bonker, listener);
    let sink = sink(address);
    for n in 0..3 {
        // The stream before has ended without a bonk.
        timeout(WITHIN, opened.recv()).await.unwrap().unwrap();
        sink.offer(&incident(n).into());
        let item = timeout(WITHIN, received.recv()).await.unwrap().unwrap();
        assert_eq!(item.id, incident(n).id, "each comes once, in order");
    }
    let counts = timeout(WITHIN, sink.finish()).await.unwrap();
    assert_eq!((counts.delivered.get(), counts.failed.get()), (3, 0));
    assert!(received.try_recv().is_err(), "nothing is sent again");
}

#[tokio::test]
async fn an_acknowledged_bonk_is_not_sent_again_although_its_stream_ends() {
    let (listener, address) = listen().await;
    let (mut bonker, mut received, _) = Bonker::new();
    // Fewer than are in flight at once: the others are lost with the stream.
    bonker.items_a_stream = 5;
    let _server = run(bonker, listener);
    let sink = sink(address);
    for n in 0..40 {
        sink.offer(&incident(n).into());
    }
    for n in 0..40 {
        let item = timeout(WITHIN, received.recv()).await.unwrap().unwrap();
        assert_eq!(item.id, incident(n).id, "each comes once, in order");
    }
    let counts = timeout(WITHIN, sink.finish()).await.unwrap();
    assert_eq!((counts.delivered.get(), counts.failed.get()), (40, 0));
    assert!(received.try_recv().is_err(), "nothing is sent again");
}

#[tokio::test]
async fn a_refused_bonk_is_sent_again_and_delays_no_other() {
    let (listener, address) = listen().await;
    let (mut bonker, mut received, _) = Bonker::new();
    bonker.answer = |item, times| match (item.id == incident(0).id, times) {
        (true, 0) => Outcome::Full,
        (true, 1) => Outcome::RateLimited,
        _ => Outcome::Accepted,
    };
    let _server = run(bonker, listener);
    let sink = sink(address);
    for n in 0..40 {
        sink.offer(&incident(n).into());
    }
    let mut ids = Vec::new();
    while ids.len() < 42 {
        ids.push(timeout(WITHIN, received.recv()).await.unwrap().unwrap().id);
    }
    let refused = incident(0).id.clone();
    let places = (0..42).filter(|&place| ids[place] == refused);
    assert_eq!(places.collect::<Vec<_>>(), [0, 40, 41], "{ids:?}");
    let counts = timeout(WITHIN, sink.finish()).await.unwrap();
    assert_eq!((counts.delivered.get(), counts.failed.get()), (40, 0));
}

#[tokio::test]
async fn a_bonk_refused_until_it_is_old_is_given_up_and_counted() {
    let (listener, address) = listen().await;
    let (mut bonker, mut received, _) = Bonker::new();
    bonker.answer = |_, _| Outcome::Full;
    let _server = run(bonker, listener);
    let sink = sink(address);
    let now = service::clock::monotonic_ns();
    let mut kill = Arc::unwrap_or_clone(incident(1));
    // Too old in a second; on a machine that was just started, only after five minutes.
    kill.stamp_ns = now.saturating_sub(299_000_000_000);
    sink.offer(&kill.into());
    for _ in 0..2 {
        timeout(WITHIN, received.recv()).await.unwrap().unwrap();
    }
    let counts = timeout(IDLE, sink.finish()).await.unwrap();
    assert_eq!((counts.delivered.get(), counts.failed.get()), (0, 1));
    assert_eq!(counts.pending(), 0);
}

#[tokio::test]
async fn a_rejected_bonk_is_not_sent_again() {
    let (listener, address) = listen().await;
    let (mut bonker, mut received, _) = Bonker::new();
    bonker.answer = |_, _| Outcome::Rejected;
    let _server = run(bonker, listener);
    let sink = sink(address);
    sink.offer(&incident(1).into());
    timeout(WITHIN, received.recv()).await.unwrap().unwrap();
    let counts = timeout(WITHIN, sink.finish()).await.unwrap();
    assert_eq!((counts.delivered.get(), counts.failed.get()), (0, 1));
    assert!(received.try_recv().is_err());
}
