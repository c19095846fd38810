//! The recorder against an API server of this process: the requests it makes, and what it makes of answers.

use std::time::Duration;

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower_test::mock::Handle;

use super::{RecordError, Recorded, Recorder};
use crate::incident::{Container, Incident, Outcome, Pod, Rss, Scope, Trigger, VERSION, Victim};

fn incident() -> Incident {
    let some = |text: &str| Some(text.to_owned());
    Incident {
        version: VERSION,
        id: "6f1c0a52-812345678901-4242".to_owned(),
        time: "2026-11-21T09:00:00.123456789Z".parse().unwrap(),
        node: "node-a".to_owned(),
        scope: Scope::Unknown,
        limit_bytes: None,
        limit_cgroup: None,
        oom: None,
        outcome: Outcome::ChildDied,
        trigger: Some(Trigger {
            pid: 7,
            comm: "allocator".to_owned(),
        }),
        victims: vec![Victim {
            pid: 4242,
            comm: some("ta\x1b[31mil"),
            rss_bytes: Some(Rss {
                anon: 63 << 20,
                file: 1 << 19,
                shmem: 0,
            }),
            container: Some(Container {
                id: "17db".to_owned(),
                name: some("main"),
                runtime: some("containerd"),
            }),
            pod: Some(Pod {
                namespace: some("shop"),
                name: some("hungry"),
                uid: some("a38c12e8-255a-11e9-8cd9-0007cb0b2cc8"),
            }),
            ..Victim::default()
        }],
        degraded: Vec::new(),
        stamp_ns: 812_345_678_901,
    }
}

/// One call of the recorder, answered with `code` and `body`; gives back the request's line and JSON too.
async fn exchange(
    incident: &Incident,
    code: u16,
    body: Value,
) -> (Result<Recorded, RecordError>, String, Value) {
    let (service, mut handle): (_, Handle<Request<Body>, Response<Body>>) =
        tower_test::mock::pair();
    let recorder = Recorder::with_client(Client::new(service, "default"), "node-a");
    let server = tokio::spawn(async move {
        let (request, respond) = handle.next_request().await.unwrap();
        let line = format!("{} {}", request.method(), request.uri());
        let sent = request.into_body().collect_bytes().await.unwrap();
        let response = Response::builder().status(code);
        respond.send_response(
            response
                .body(Body::from(serde_json::to_vec(&body).unwrap()))
                .unwrap(),
        );
        (line, serde_json::from_slice(&sent).unwrap())
    });
    let within = Duration::from_secs(10);
    let result = tokio::time::timeout(within, recorder.record(incident))
        .await
        .unwrap();
    let (line, sent) = tokio::time::timeout(within, server).await.unwrap().unwrap();
    (result, line, sent)
}

fn status(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": "the server's own words"})
}

#[tokio::test]
async fn the_event_is_whole_and_lies_beside_its_pod() {
    let created = json!({"metadata": {}, "eventTime": null});
    let (result, line, sent) = exchange(&incident(), 201, created).await;
    assert_eq!(result.unwrap(), Recorded::Created);
    assert_eq!(line, "POST /apis/events.k8s.io/v1/namespaces/shop/events?");
    let note = "ta\\u{1b}[31mil (pid 4242) was OOM-killed in container main of pod shop/hungry \
        with 63.5 MiB resident (anon 63.0 MiB, file 0.5 MiB, shmem 0.0 MiB); \
        the container's first process was not the victim; set off by allocator (pid 7)";
    assert_eq!(
        sent,
        json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": {"name": "hungry.6f1c0a52-812345678901-4242", "namespace": "shop"},
            "type": "Warning", "reason": "OOMKilled", "action": "Kill", "note": note,
            "eventTime": "2026-11-21T09:00:00.123456Z",
            "reportingController": "oom-bonker.dev/oom-agent", "reportingInstance": "node-a",
            "regarding": {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "hungry",
                "uid": "a38c12e8-255a-11e9-8cd9-0007cb0b2cc8", "fieldPath": "spec.containers{main}"},
            "related": {"apiVersion": "v1", "kind": "Node", "name": "node-a"},
        })
    );
}

#[tokio::test]
async fn an_event_that_stands_already_is_no_failure() {
    let (result, ..) = exchange(&incident(), 409, status(409, "AlreadyExists")).await;
    assert_eq!(result.unwrap(), Recorded::AlreadyThere);
}

#[tokio::test]
async fn a_refusal_names_the_missing_right_and_is_not_repeated() {
    let (result, ..) = exchange(&incident(), 403, status(403, "Forbidden")).await;
    let error = result.unwrap_err();
    let text = crate::chain(&error).to_string();
    assert!(
        text.contains("needs `create` and `patch` on `events`") && text.contains("own words"),
        "{text}"
    );
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_busy_server_is_asked_again_and_a_picky_one_is_not() {
    for (code, transient) in [
        (401, true),
        (429, true),
        (500, true),
        (503, true),
        (422, false),
    ] {
        let (result, ..) = exchange(&incident(), code, status(code, "")).await;
        assert_eq!(result.unwrap_err().is_transient(), transient, "{code}");
    }
}

#[tokio::test]
async fn a_namespace_that_is_being_deleted_is_no_missing_right() {
    let mut body = status(403, "Forbidden");
    body["message"] =
        json!("unable to create new content in namespace shop because it is being terminated");
    let (result, ..) = exchange(&incident(), 403, body).await;
    assert!(matches!(result, Err(RecordError::Refused { .. })));
}

#[tokio::test]
async fn what_is_too_long_for_the_api_server_is_cut() {
    let mut incident = incident();
    let victim = &mut incident.victims[0];
    victim.pod.as_mut().unwrap().name = Some("p".repeat(225) + "-" + &"q".repeat(27));
    victim.container.as_mut().unwrap().name = Some("ü".repeat(2000));
    let (_, _, sent) = exchange(&incident, 201, json!({"metadata": {}, "eventTime": null})).await;
    let text = |path: &str| sent.pointer(path).unwrap().as_str().unwrap().to_owned();
    assert!((1020..=1024).contains(&text("/note").len()));
    let name = text("/metadata/name");
    // 253 less the suffix ends in the dash, which no DNS label does.
    assert_eq!(name, "p".repeat(225) + ".6f1c0a52-812345678901-4242");
}

#[tokio::test]
async fn without_a_pod_nothing_is_asked() {
    let mut incident = incident();
    incident.victims[0].pod = None;
    let (service, _handle): (_, Handle<Request<Body>, Response<Body>>) = tower_test::mock::pair();
    let recorder = Recorder::with_client(Client::new(service, "default"), "node-a");
    assert_eq!(recorder.record(&incident).await.unwrap(), Recorded::NoPod);
}
