//! The sink against a failing API server in this process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Names, start};
use crate::incident::Incident;
use crate::k8s::fake::{Answer, Fake, Request, accept_events, incident, status};
use crate::metrics::{EventCounts, JournalCounts, Metrics};
use crate::receipts::{Deliveries, Pinned, Receipts};
use crate::sinks::Sink;

const WITHIN: Duration = Duration::from_mins(3);

/// Finds every container from the second call on.
fn late_names() -> impl Fn(&str) -> Option<Names> + Send + Sync {
    let calls = AtomicU64::new(0);
    move |id| {
        let incident = incident();
        let victim = incident.victims.first()?;
        assert_eq!(id, victim.container.as_ref()?.id);
        let calls = calls.fetch_add(1, Ordering::Relaxed);
        (calls > 0).then(|| Some((victim.container.clone()?, victim.pod.clone())))?
    }
}

fn no_names(_: &str) -> Option<Names> {
    None
}

/// A sink whose server forwards every request to the test.
async fn sink(
    answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    find_name: impl Fn(&str) -> Option<Names> + Send + Sync + 'static,
) -> (Sink, EventCounts, mpsc::UnboundedReceiver<Request>) {
    sink_with(answer, find_name, Receipts::default()).await
}

/// The same, with a journal.
async fn sink_with(
    answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    find_name: impl Fn(&str) -> Option<Names> + Send + Sync + 'static,
    receipts: Receipts,
) -> (Sink, EventCounts, mpsc::UnboundedReceiver<Request>) {
    let (sender, requests) = mpsc::unbounded_channel();
    let server = Fake::start(move |request: &Request| {
        // The test may have seen enough.
        let _enough = sender.send(request.clone());
        answer(request)
    })
    .await;
    let recorder = server.recorder(true).await;
    let metrics = Metrics::default();
    let sink = start(
        async move { Some(recorder) },
        find_name,
        true,
        &metrics,
        receipts,
    );
    (sink, metrics.events, requests)
}

async fn next_request(requests: &mut mpsc::UnboundedReceiver<Request>, method: &str) -> Request {
    let find = async {
        loop {
            let request = requests.recv().await.unwrap();
            if request.line.starts_with(method) {
                return request;
            }
        }
    };
    timeout(WITHIN, find).await.unwrap()
}

fn numbered(n: usize, namespace: &str) -> Arc<Incident> {
    let mut incident = incident();
    incident.id = format!("6f1c0a52-{n}-4242");
    incident.stamp_ns = service::clock::monotonic_ns();
    let pod = incident.victims[0].pod.as_mut().unwrap();
    pod.namespace = Some(namespace.to_owned());
    pod.uid = Some(format!("{namespace}-{n}"));
    Arc::new(incident)
}

fn nameless() -> Arc<Incident> {
    let mut incident = incident();
    let victim = &mut incident.victims[0];
    victim.container.as_mut().unwrap().name = None;
    let pod = victim.pod.as_mut().unwrap();
    (pod.name, pod.namespace) = (None, None);
    Arc::new(incident)
}

fn event_name(request: &Request) -> &Value {
    &request.body["metadata"]["name"]
}

#[tokio::test]
async fn an_event_is_written_when_the_server_is_back_and_only_once() {
    let away = AtomicU64::new(0);
    let (sink, events, mut requests) = sink(
        move |request: &Request| {
            let post = request.line.starts_with("POST");
            if post && away.fetch_add(1, Ordering::Relaxed) < 2 {
                status(503)
            } else {
                accept_events(request)
            }
        },
        no_names,
    )
    .await;
    sink.offer(&numbered(1, "shop").into());
    for _ in 0..3 {
        assert_eq!(
            *event_name(&next_request(&mut requests, "POST").await),
            "hungry.6f1c0a52-1-4242"
        );
    }
    let counts = timeout(WITHIN, sink.finish()).await.unwrap();
    assert_eq!(counts.delivered.get(), 1);
    assert_eq!(counts.pending(), 0);
    assert_eq!(events.retried.get(), 2);
    assert_eq!(events.created.get(), 1);
}

#[tokio::test]
async fn an_event_that_the_server_fails_at_delays_no_other() {
    let (sink, _, mut requests) = sink(
        |request: &Request| {
            if request.line.contains("/namespaces/broken/") {
                status(500)
            } else {
                accept_events(request)
            }
        },
        no_names,
    )
    .await;
    sink.offer(&numbered(1, "broken").into());
    for n in 2..5 {
        sink.offer(&numbered(n, "shop").into());
    }
    for n in 2..5 {
        let request = loop {
            let request = next_request(&mut requests, "POST").await;
            if request.line.contains("/shop/") {
                break request;
            }
        };
        assert_eq!(*event_name(&request), format!("hungry.6f1c0a52-{n}-4242"));
    }
    let counts = sink.counts.clone();
    // Given up only when the sink is dropped.
    drop(timeout(Duration::ZERO, sink.finish()).await);
    assert_eq!(counts.failed.get(), 0);
}

#[tokio::test]
async fn a_name_that_comes_late_still_puts_the_event_on_its_pod() {
    let (sink, _, mut requests) = sink(accept_events, late_names()).await;
    sink.offer(&nameless().into());
    let request = next_request(&mut requests, "POST").await;
    assert_eq!(request.body["involvedObject"]["kind"], "Pod");
    assert_eq!(request.body["involvedObject"]["name"], "hungry");
    assert_eq!(
        request.body["involvedObject"]["fieldPath"],
        "spec.containers{main}"
    );
    let counts = timeout(WITHIN, sink.finish()).await.unwrap();
    assert_eq!(counts.delivered.get(), 1);
}

#[tokio::test]
async fn a_containers_name_that_comes_late_is_in_the_only_event() {
    // The API server does not know which container that is.
    let (sink, events, mut requests) = sink(accept_events, late_names()).await;
    let mut incident = incident();
    incident.victims[0].container.as_mut().unwrap().name = None;
    sink.offer(&incident.into());
    let request = next_request(&mut requests, "POST").await;
    assert_eq!(
        request.body["involvedObject"]["fieldPath"],
        "spec.containers{main}"
    );
    timeout(WITHIN, sink.finish()).await.unwrap();
    assert_eq!((events.created.get(), events.retried.get()), (1, 0));
}

#[tokio::test]
async fn at_shutdown_an_event_is_about_the_pod_alone_where_its_container_has_no_name() {
    let (sink, _, mut requests) = sink(accept_events, no_names).await;
    let mut incident = incident();
    incident.victims[0].container.as_mut().unwrap().name = None;
    sink.offer(&incident.into());
    next_request(&mut requests, "GET /api/v1/namespaces/").await;
    timeout(WITHIN, sink.finish()).await.unwrap();
    let request = next_request(&mut requests, "POST").await;
    assert_eq!(request.body["involvedObject"]["name"], "hungry");
    assert_eq!(request.body["involvedObject"]["fieldPath"], Value::Null);
}

#[tokio::test]
async fn a_name_is_waited_for_while_the_server_is_away() {
    let away = AtomicU64::new(0);
    let (sink, _, mut requests) = sink(
        move |request: &Request| {
            if away.fetch_add(1, Ordering::Relaxed) < 2 {
                status(503)
            } else if request.line.starts_with("GET /api/v1/pods?") {
                let pod = &self::incident().victims[0].pod.clone().unwrap();
                let metadata =
                    json!({"name": pod.name, "namespace": pod.namespace, "uid": pod.uid});
                (
                    200,
                    None,
                    json!({"apiVersion": "meta.k8s.io/v1", "metadata": {},
                    "kind": "PartialObjectMetadataList", "items": [{"metadata": metadata}]}),
                )
            } else {
                accept_events(request)
            }
        },
        no_names,
    )
    .await;
    let mut incident = incident();
    let pod = incident.victims[0].pod.as_mut().unwrap();
    (pod.name, pod.namespace) = (None, None);
    sink.offer(&incident.into());
    let request = next_request(&mut requests, "POST").await;
    assert_eq!(request.body["involvedObject"]["name"], "hungry");
    let counts = timeout(WITHIN, sink.finish()).await.unwrap();
    assert_eq!(counts.delivered.get(), 1);
}

#[tokio::test]
async fn at_shutdown_no_event_waits_for_a_name() {
    let (sink, _, mut requests) = sink(accept_events, no_names).await;
    sink.offer(&nameless().into());
    // Its pod was not found, and it waits again.
    next_request(&mut requests, "GET /api/v1/pods?").await;
    let counts = timeout(WITHIN, sink.finish()).await.unwrap();
    assert_eq!(counts.delivered.get(), 1);
    let request = next_request(&mut requests, "POST").await;
    assert_eq!(request.body["involvedObject"]["kind"], "Node");
}

#[tokio::test]
async fn at_shutdown_an_event_without_a_name_is_left_to_the_next_agent() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Deliveries::open(Some(dir.path()), &JournalCounts::default());
    let deliveries = open();
    let receipts = deliveries.receipts("kubernetes");
    let (sink, _, mut requests) = sink_with(accept_events, no_names, receipts).await;
    let incident = nameless();
    deliveries.record_incident(
        &incident,
        ["kubernetes".to_owned()].into(),
        &Pinned::default(),
    );
    sink.offer(&incident.clone().into());
    next_request(&mut requests, "GET /api/v1/pods?").await;
    timeout(WITHIN, sink.finish()).await.unwrap();
    while let Ok(request) = requests.try_recv() {
        assert!(!request.line.starts_with("POST"), "{}", request.line);
    }
    deliveries.finish(WITHIN).await;
    let replayed = Mutex::new(Vec::new());
    open().replay_undelivered(|sink, report, _| {
        let delivery = (sink.to_owned(), report.id().to_owned());
        replayed.lock().unwrap().push(delivery);
        true
    });
    let replayed = replayed.into_inner().unwrap();
    assert_eq!(replayed, [("kubernetes".to_owned(), incident.id.clone())]);
}

#[tokio::test]
async fn a_storm_is_held_back_and_counted_in_a_series() {
    let (sink, events, mut requests) = sink(accept_events, no_names).await;
    for n in 0..40 {
        let mut incident = incident();
        incident.id = format!("6f1c0a52-{n}-4242");
        sink.offer(&incident.into());
    }
    let counts = timeout(WITHIN, sink.finish()).await.unwrap();
    assert_eq!(counts.delivered.get(), 25);
    assert_eq!(counts.held_back.get(), 15);
    assert_eq!(counts.pending(), 0);
    assert!(events.patched.get() >= 1);
    let mut last = Value::Null;
    while let Ok(request) = requests.try_recv() {
        if request.line.starts_with("PATCH") {
            last = request.body["series"]["count"].clone();
        }
    }
    // The first and the fifteen held back, in one or more patches.
    assert_eq!(last, 16);
}

#[tokio::test]
async fn without_an_api_server_everything_is_skipped() {
    let sink = start(
        async { None },
        no_names,
        true,
        &Metrics::default(),
        Receipts::default(),
    );
    sink.offer(&numbered(1, "shop").into());
    let counts = timeout(WITHIN, sink.finish()).await.unwrap();
    assert_eq!(counts.skipped.get(), 1);
    assert_eq!(counts.pending(), 0);
}
