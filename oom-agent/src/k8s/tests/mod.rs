//! The recorder against a fake API server: its requests, and how it handles answers.

mod answers;
mod mismatches;
mod pods;
mod policy;
mod warnings;

use std::time::Instant;

use serde_json::{Value, json};

use super::fake::{Answer, Fake, Request, UID, accept_events, incident, status};
use super::{Job, RecordError, Recorder, Written};
use crate::incident::{Incident, Outcome, Scope};

/// One attempt at the incident's first Event.
async fn write(recorder: &mut Recorder, incident: Incident) -> Result<Written, RecordError> {
    write_all(recorder, incident, false).await.remove(0)
}

async fn write_all(
    recorder: &mut Recorder,
    incident: Incident,
    last: bool,
) -> Vec<Result<Written, RecordError>> {
    let mut written = Vec::new();
    for (mut job, _) in recorder.admit(&incident.into(), Instant::now()).jobs {
        written.push(recorder.write(&mut job, last).await);
    }
    written
}

/// Answers as a server with that pod, also in the list of its node's pods.
fn serve_pod(pod: Value) -> impl Fn(&Request) -> Answer {
    move |request| match request.line.as_str() {
        "GET /api/v1/namespaces/shop/pods/hungry" => (200, None, pod.clone()),
        line if line.starts_with("GET /api/v1/pods?") => {
            let item = json!({"metadata": pod["metadata"]});
            let list = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
                "metadata": {}, "items": [item]});
            (200, None, list)
        }
        _ => accept_events(request),
    }
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "hungry", "namespace": "shop", "uid": UID,
            "labels": {"pod-template-hash": "5d4f"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "eater-5d4f",
                "uid": "1", "controller": true}],
        },
        "spec": {
            "containers": [{"name": "main"}], "initContainers": [{"name": "setup"}],
            "ephemeralContainers": [{"name": "debug"}],
        },
        "status": {"containerStatuses": [{"name": "main", "containerID": "containerd://17db",
            "image": "", "imageID": "", "ready": true, "restartCount": 0}]},
    })
}

fn annotation<'a>(event: &'a Value, key: &str) -> &'a Value {
    &event["metadata"]["annotations"][format!("oom-bonker.dev/{key}")]
}

#[tokio::test]
async fn the_event_is_complete_and_in_its_pods_namespace() {
    let server = Fake::start(serve_pod(pod())).await;
    let mut recorder = server.recorder(true).await;
    let written = write(&mut recorder, incident()).await;
    assert_eq!(written.unwrap(), Written::Created);
    let requests = server.requests();
    let lines: Vec<&str> = requests
        .iter()
        .map(|request| request.line.as_str())
        .collect();
    assert_eq!(
        lines,
        [
            "GET /api/v1/namespaces/shop/pods/hungry",
            "POST /api/v1/namespaces/shop/events?"
        ]
    );
    let mut event = server.events().remove(0);
    let annotations = event["metadata"].as_object_mut().unwrap();
    assert_eq!(
        annotations.remove("annotations").unwrap(),
        json!({
            "oom-bonker.dev/incident": "6f1c0a52-812345678901-4242",
            "oom-bonker.dev/scope": "container", "oom-bonker.dev/outcome": "container-died",
            "oom-bonker.dev/limit-bytes": "67108864",
            "oom-bonker.dev/limit-cgroup": "/kubepods/poda38c12e8-255a-11e9-8cd9-0007cb0b2cc8/17db",
            "oom-bonker.dev/trigger-pid": "4242", "oom-bonker.dev/trigger-comm": "tail",
            "oom-bonker.dev/victims": "[{\"comm\":\"tail\",\"namespace_pid\":1,\"oom_score_adj\":null,\
                \"pid\":4242,\"rss_bytes\":{\"anon\":66060288,\"file\":524288,\"shmem\":0},\"uid\":null}]",
            "oom-bonker.dev/container": "main", "oom-bonker.dev/container-id": "17db",
            "oom-bonker.dev/container-kind": "container", "oom-bonker.dev/owner": "Deployment/eater",
        })
    );
    let note = event["note"].take();
    assert!(
        note.as_str()
            .unwrap()
            .starts_with("Container main hit its memory limit of 64 MiB: tail (pid 4242)")
    );
    assert_eq!(
        event,
        json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": {"name": "hungry.6f1c0a52-812345678901-4242", "namespace": "shop"},
            "type": "Warning", "reason": "OOMKilled", "action": "Kill", "note": null,
            "eventTime": "2026-11-21T09:00:00.123456Z",
            "deprecatedFirstTimestamp": "2026-11-21T09:00:00Z", "deprecatedLastTimestamp": "2026-11-21T09:00:00Z",
            "deprecatedCount": 1, "deprecatedSource": {"component": "oom-bonker.dev/oom-agent"},
            "reportingController": "oom-bonker.dev/oom-agent", "reportingInstance": "node-a",
            "regarding": {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "hungry",
                "uid": UID, "fieldPath": "spec.containers{main}"},
            "related": {"apiVersion": "v1", "kind": "Node", "name": "node-a", "uid": "node-a"},
        })
    );
}

#[tokio::test]
async fn the_event_of_a_host_process_is_on_the_node() {
    let mut incident = incident();
    incident.victims[0].pod = None;
    incident.victims[0].container = None;
    incident.scope = Scope::Node;
    incident.outcome = Outcome::Unknown;
    let server = Fake::start(accept_events).await;
    let mut recorder = server.recorder(true).await;
    assert_eq!(
        write(&mut recorder, incident.clone()).await.unwrap(),
        Written::Created
    );
    let requests = server.requests();
    assert_eq!(requests[0].line, "POST /api/v1/namespaces/default/events?");
    let event = &server.events()[0];
    assert_eq!(
        event["metadata"]["name"],
        "node-a.6f1c0a52-812345678901-4242"
    );
    assert_eq!(event["metadata"]["namespace"], "default");
    assert_eq!(event["reason"], "NodeOutOfMemory");
    assert_eq!(
        event["regarding"],
        json!({"apiVersion": "v1", "kind": "Node", "name": "node-a", "uid": "node-a"})
    );
    assert_eq!(event["related"], Value::Null);
    let victims = annotation(event, "victims").as_str().unwrap();
    let victims: Value = serde_json::from_str(victims).unwrap();
    assert_eq!(victims[0]["pod"], Value::Null);
    // A name that is only guessed may be another node's.
    let mut guesses = server.recorder(false).await;
    let admitted = guesses.admit(&incident.into(), Instant::now());
    assert!(admitted.jobs.is_empty() && admitted.held_back == 0);
}

#[tokio::test]
async fn a_full_node_has_an_event_on_the_pod_and_one_on_the_node() {
    let mut incident = incident();
    incident.scope = Scope::Node;
    let server = Fake::start(accept_events).await;
    let mut recorder = server.recorder(true).await;
    let written = write_all(&mut recorder, incident, false).await;
    assert_eq!(written.len(), 2);
    let events = server.events();
    assert_eq!(events[0]["regarding"]["kind"], "Pod");
    assert_eq!(events[0]["reason"], "OOMKilled");
    assert_eq!(events[1]["regarding"]["kind"], "Node");
    assert_eq!(events[1]["reason"], "NodeOutOfMemory");
    let victims = annotation(&events[1], "victims").as_str().unwrap();
    let victims: Value = serde_json::from_str(victims).unwrap();
    assert_eq!(
        (&victims[0]["pod"], &victims[0]["container"]),
        (&json!("shop/hungry"), &json!("main"))
    );
}

#[tokio::test]
async fn a_group_over_two_containers_has_an_event_on_each() {
    let mut incident = incident();
    let mut second = incident.victims[0].clone();
    second.pid = 4343;
    second.namespace_pid = Some(7);
    second.first_process = Some(false);
    second.container.as_mut().unwrap().id = "18ec".to_owned();
    second.container.as_mut().unwrap().name = Some("side".to_owned());
    incident.victims.push(second);
    let server = Fake::start(accept_events).await;
    let mut recorder = server.recorder(true).await;
    write_all(&mut recorder, incident, false).await;
    let events = server.events();
    let field =
        |event: &Value, path: &str| event.pointer(path).unwrap().as_str().unwrap().to_owned();
    assert_eq!(
        field(&events[0], "/regarding/fieldPath"),
        "spec.containers{main}"
    );
    assert_eq!(
        field(&events[1], "/regarding/fieldPath"),
        "spec.containers{side}"
    );
    assert_eq!(field(&events[0], "/reason"), "OOMKilled");
    assert_eq!(field(&events[1], "/reason"), "ProcessOOMKilled");
    assert_ne!(
        field(&events[0], "/metadata/name"),
        field(&events[1], "/metadata/name")
    );
}

/// Twenty-five kills with an Event each, then seven without.
async fn write_burst(recorder: &mut Recorder) -> Vec<(Job, Instant)> {
    let now = Instant::now();
    let mut updates = Vec::new();
    let mut held_back = 0;
    for n in 1..=32 {
        let mut incident = incident();
        incident.id = format!("6f1c0a52-{n}-4242");
        let admitted = recorder.admit(&incident.into(), now);
        held_back += admitted.held_back;
        for (mut job, due) in admitted.jobs {
            match job {
                Job::Event(_) => assert_eq!(
                    recorder.write(&mut job, false).await.unwrap(),
                    Written::Created
                ),
                Job::Series(_) => updates.push((job, due)),
            }
        }
    }
    assert_eq!(held_back, 7);
    updates
}

#[tokio::test]
async fn held_back_kills_are_a_series_of_the_last_event() {
    let server = Fake::start(accept_events).await;
    let mut recorder = server.recorder(true).await;
    let mut updates = write_burst(&mut recorder).await;
    assert_eq!((server.events().len(), updates.len()), (25, 1));
    let (mut update, _) = updates.remove(0);
    assert_eq!(
        recorder.write(&mut update, false).await.unwrap(),
        Written::Patched
    );
    let patch = server.requests().pop().unwrap();
    assert_eq!(
        patch.line,
        "PATCH /api/v1/namespaces/shop/events/hungry.6f1c0a52-25-4242?"
    );
    assert_eq!(
        patch.body,
        json!({"count": 8, "lastTimestamp": "2026-11-21T09:00:00Z",
            "series": {"count": 8, "lastObservedTime": "2026-11-21T09:00:00.123456Z"}})
    );
}

#[tokio::test]
async fn a_series_whose_event_is_gone_becomes_a_new_event() {
    let server = Fake::start(|request: &Request| {
        if request.line.starts_with("PATCH") {
            status(404)
        } else {
            accept_events(request)
        }
    })
    .await;
    let mut recorder = server.recorder(true).await;
    let (mut update, _) = write_burst(&mut recorder).await.remove(0);
    assert_eq!(
        recorder.write(&mut update, false).await.unwrap(),
        Written::Created
    );
    let event = server.events().pop().unwrap();
    assert_eq!(event["metadata"]["name"], "hungry.6f1c0a52-32-4242");
    assert_eq!(*annotation(&event, "held-back"), "7");
    assert!(
        event["note"]
            .as_str()
            .unwrap()
            .contains("7 more OOM kills here"),
        "{event:#}"
    );
}

#[tokio::test]
async fn long_names_and_messages_are_cut() {
    let mut incident = incident();
    let victim = &mut incident.victims[0];
    victim.pod.as_mut().unwrap().name = Some("p".repeat(225) + "-" + &"q".repeat(27));
    victim.container.as_mut().unwrap().name = Some("ü".repeat(2000));
    let server = Fake::start(accept_events).await;
    let mut recorder = server.recorder(true).await;
    write(&mut recorder, incident).await.unwrap();
    let event = server.events().remove(0);
    assert!(event["note"].as_str().unwrap().len() <= 1024);
    // 253 less the suffix ends in the dash, which no DNS label does.
    assert_eq!(
        event["metadata"]["name"],
        "p".repeat(225) + ".6f1c0a52-812345678901-4242"
    );
    assert!(annotation(&event, "container").as_str().unwrap().len() <= 512);
}
