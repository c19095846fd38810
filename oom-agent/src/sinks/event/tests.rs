//! The sink against an API server of this process that fails in every way it can.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Names, start};
use crate::incident::{Container, Incident, Pod};
use crate::k8s::fake::{Answer, Fake, Request, accept_events, incident, status};
use crate::metrics::{EventCounts, JournalCounts, Metrics};
use crate::receipts::{Deliveries, Pinned, Receipts};
use crate::sinks::Sink;

const WITHIN: Duration = Duration::from_mins(3);

/// Knows every container from the second time it is asked on.
#[derive(Default)]
struct Later(AtomicU64);

/// Never knows any.
struct Nobody;

impl Names for Later {
    fn name(&self, id: &str) -> Option<(Container, Option<Pod>)> {
        let incident = incident();
        let victim = incident.victims.first()?;
        assert_eq!(id, victim.container.as_ref()?.id);
        let asked = self.0.fetch_add(1, Ordering::Relaxed);
        (asked > 0).then(|| Some((victim.container.clone()?, victim.pod.clone())))?
    }
}

impl Names for Nobody {
    fn name(&self, _: &str) -> Option<(Container, Option<Pod>)> {
        None
    }
}

/// A sink on a server that tells the test of every request.
async fn sink(
    answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    names: impl Names,
) -> (Sink, EventCounts, mpsc::UnboundedReceiver<Request>) {
    sink_with(answer, names, Receipts::default()).await
}

/// The same, and what it is done with is written down.
async fn sink_with(
    answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    names: impl Names,
    receipts: Receipts,
) -> (Sink, EventCounts, mpsc::UnboundedReceiver<Request>) {
    let (tell, told) = mpsc::unbounded_channel();
    let server = Fake::start(move |asked: &Request| {
        // The test may have seen enough.
        let _enough = tell.send(asked.clone());
        answer(asked)
    })
    .await;
    let recorder = server.recorder(true).await;
    let metrics = Metrics::default();
    let sink = start(
        async move { Some(recorder) },
        names,
        true,
        &metrics,
        receipts,
    );
    (sink, metrics.events, told)
}

async fn next(told: &mut mpsc::UnboundedReceiver<Request>, method: &str) -> Request {
    let find = async {
        loop {
            let asked = told.recv().await.unwrap();
            if asked.line.starts_with(method) {
                return asked;
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

fn name(asked: &Request) -> &Value {
    &asked.body["metadata"]["name"]
}

#[tokio::test]
async fn an_event_is_written_when_the_server_is_back_and_only_once() {
    let away = AtomicU64::new(0);
    let (sink, events, mut told) = sink(
        move |asked: &Request| {
            let post = asked.line.starts_with("POST");
            if post && away.fetch_add(1, Ordering::Relaxed) < 2 {
                status(503)
            } else {
                accept_events(asked)
            }
        },
        Nobody,
    )
    .await;
    sink.offer(&numbered(1, "shop").into());
    for _ in 0..3 {
        assert_eq!(
            *name(&next(&mut told, "POST").await),
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
async fn an_event_that_the_server_fails_at_holds_up_no_other() {
    let (sink, _, mut told) = sink(
        |asked: &Request| {
            if asked.line.contains("/namespaces/broken/") {
                status(500)
            } else {
                accept_events(asked)
            }
        },
        Nobody,
    )
    .await;
    sink.offer(&numbered(1, "broken").into());
    for n in 2..5 {
        sink.offer(&numbered(n, "shop").into());
    }
    for n in 2..5 {
        let asked = loop {
            let asked = next(&mut told, "POST").await;
            if asked.line.contains("/shop/") {
                break asked;
            }
        };
        assert_eq!(*name(&asked), format!("hungry.6f1c0a52-{n}-4242"));
    }
    let counts = sink.counts();
    // Given up only when nobody waits any longer.
    drop(timeout(Duration::ZERO, sink.finish()).await);
    assert_eq!(counts.failed.get(), 0);
}

#[tokio::test]
async fn a_name_that_comes_late_still_puts_the_event_on_its_pod() {
    let (sink, _, mut told) = sink(accept_events, Later::default()).await;
    sink.offer(&nameless().into());
    let asked = next(&mut told, "POST").await;
    assert_eq!(asked.body["involvedObject"]["kind"], "Pod");
    assert_eq!(asked.body["involvedObject"]["name"], "hungry");
    assert_eq!(
        asked.body["involvedObject"]["fieldPath"],
        "spec.containers{main}"
    );
    let counts = timeout(WITHIN, sink.finish()).await.unwrap();
    assert_eq!(counts.delivered.get(), 1);
}

#[tokio::test]
async fn a_containers_name_that_comes_late_is_in_the_only_event() {
    // The API server does not say which container that is.
    let (sink, events, mut told) = sink(accept_events, Later::default()).await;
    let mut incident = incident();
    incident.victims[0].container.as_mut().unwrap().name = None;
    sink.offer(&incident.into());
    let asked = next(&mut told, "POST").await;
    assert_eq!(
        asked.body["involvedObject"]["fieldPath"],
        "spec.containers{main}"
    );
    timeout(WITHIN, sink.finish()).await.unwrap();
    assert_eq!((events.created.get(), events.retried.get()), (1, 0));
}

#[tokio::test]
async fn at_the_end_an_event_is_about_the_pod_alone_where_its_container_has_no_name() {
    let (sink, _, mut told) = sink(accept_events, Nobody).await;
    let mut incident = incident();
    incident.victims[0].container.as_mut().unwrap().name = None;
    sink.offer(&incident.into());
    next(&mut told, "GET /api/v1/namespaces/").await;
    timeout(WITHIN, sink.finish()).await.unwrap();
    let asked = next(&mut told, "POST").await;
    assert_eq!(asked.body["involvedObject"]["name"], "hungry");
    assert_eq!(asked.body["involvedObject"]["fieldPath"], Value::Null);
}

#[tokio::test]
async fn a_name_is_waited_for_while_the_server_is_away() {
    let away = AtomicU64::new(0);
    let (sink, _, mut told) = sink(
        move |asked: &Request| {
            if away.fetch_add(1, Ordering::Relaxed) < 2 {
                status(503)
            } else if asked.line.starts_with("GET /api/v1/pods?") {
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
                accept_events(asked)
            }
        },
        Nobody,
    )
    .await;
    let mut incident = incident();
    let pod = incident.victims[0].pod.as_mut().unwrap();
    (pod.name, pod.namespace) = (None, None);
    sink.offer(&incident.into());
    let asked = next(&mut told, "POST").await;
    assert_eq!(asked.body["involvedObject"]["name"], "hungry");
    let counts = timeout(WITHIN, sink.finish()).await.unwrap();
    assert_eq!(counts.delivered.get(), 1);
}

#[tokio::test]
async fn at_the_end_nobody_waits_for_a_name() {
    let (sink, _, mut told) = sink(accept_events, Nobody).await;
    sink.offer(&nameless().into());
    // Looked for in vain, and put back.
    next(&mut told, "GET /api/v1/pods?").await;
    let counts = timeout(WITHIN, sink.finish()).await.unwrap();
    assert_eq!(counts.delivered.get(), 1);
    let asked = next(&mut told, "POST").await;
    assert_eq!(asked.body["involvedObject"]["kind"], "Node");
}

#[tokio::test]
async fn at_the_end_an_event_without_a_name_is_left_to_the_next_agent() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Deliveries::open(Some(dir.path()), &JournalCounts::default());
    let deliveries = open();
    let receipts = deliveries.receipts("kubernetes");
    let (sink, _, mut told) = sink_with(accept_events, Nobody, receipts).await;
    let incident = nameless();
    deliveries.record(
        &incident,
        ["kubernetes".to_owned()].into(),
        &Pinned::default(),
    );
    sink.offer(&incident.clone().into());
    next(&mut told, "GET /api/v1/pods?").await;
    timeout(WITHIN, sink.finish()).await.unwrap();
    while let Ok(asked) = told.try_recv() {
        assert!(!asked.line.starts_with("POST"), "{}", asked.line);
    }
    deliveries.finish(WITHIN).await;
    let replayed = Mutex::new(Vec::new());
    open().replay(|sink, report, _| {
        let delivery = (sink.to_owned(), report.id().to_owned());
        replayed.lock().unwrap().push(delivery);
        true
    });
    let replayed = replayed.into_inner().unwrap();
    assert_eq!(replayed, [("kubernetes".to_owned(), incident.id.clone())]);
}

#[tokio::test]
async fn a_storm_is_held_back_counted_and_told_as_a_series() {
    let (sink, events, mut told) = sink(accept_events, Nobody).await;
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
    while let Ok(asked) = told.try_recv() {
        if asked.line.starts_with("PATCH") {
            last = asked.body["series"]["count"].clone();
        }
    }
    // Itself and the fifteen, whatever they were brought up to date in between.
    assert_eq!(last, 16);
}

#[tokio::test]
async fn without_an_api_server_everything_is_skipped() {
    let sink = start(
        async { None },
        Nobody,
        true,
        &Metrics::default(),
        Receipts::default(),
    );
    sink.offer(&numbered(1, "shop").into());
    let counts = timeout(WITHIN, sink.finish()).await.unwrap();
    assert_eq!(counts.skipped.get(), 1);
    assert_eq!(counts.pending(), 0);
}
