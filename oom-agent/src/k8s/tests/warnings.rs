//! Events of pressure warnings, bad annotations and OOMs without a victim.

use std::sync::Arc;
use std::time::{Duration, Instant};

use memcg::NodeRoot;
use serde_json::{Value, json};

use super::{annotation, pod, serve_pod};
use crate::host::Host;
use crate::incident::Pod;
use crate::k8s::fake::{Fake, UID, accept_events, incident, status};
use crate::k8s::{LookupError, Recorder, Written};
use crate::no_victim::{Cause, NoVictim, Sighting};
use crate::report::Report;
use crate::warn::tests::{bad_annotations, near};
use pressure::Level;

fn warning(level: Level, n: usize) -> Report {
    let mut warning = near(level);
    warning.id = format!("6f1c0a52-{n}-w77");
    Report::Warning(Arc::new(warning))
}

async fn write(recorder: &mut Recorder, report: &Report, now: Instant) -> Vec<Written> {
    let mut written = Vec::new();
    for (mut job, _) in recorder.admit(report, now).jobs {
        written.push(recorder.write(&mut job, false).await.unwrap());
    }
    written
}

#[tokio::test]
async fn a_warning_is_an_event_on_its_container() {
    let server = Fake::start(serve_pod(pod())).await;
    let mut recorder = server.recorder(true).await;
    let written = write(&mut recorder, &warning(Level::Critical, 1), Instant::now()).await;
    assert_eq!(written, [Written::Created]);
    let mut event = server.events().remove(0);
    for (key, value) in [
        ("warning", "critical"),
        ("mark", "90 % (working set)"),
        ("usage-bytes", "62914560"),
        ("limit-bytes", "67108864"),
        ("seconds-to-limit", "4.0"),
        ("signal", "SIGUSR2"),
        ("signalled", "1"),
        ("container-kind", "container"),
    ] {
        assert_eq!(*annotation(&event, key), value, "{key}");
    }
    event["metadata"]["annotations"].take();
    assert_eq!(
        event,
        json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": {"name": "hungry.6f1c0a52-1-w77", "namespace": "shop", "annotations": null},
            "type": "Warning", "reason": "MemoryAtLimit", "action": "Warn",
            "note": "Container main of pod shop/hungry is at 94 % of its memory limit of 64 MiB (critical); at this pace it is there in 4.0 s; SIGUSR2 was sent to 1 process. Next: it is OOM-killed when the kernel finds nothing more to take back; raise its resources.limits.memory, or have it let go of memory.",
            "eventTime": "2026-11-21T09:00:00.500000Z",
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
async fn repeated_warnings_have_few_events_and_leave_the_kills_their_tokens() {
    let server = Fake::start(accept_events).await;
    let mut recorder = server.recorder(true).await;
    let now = Instant::now();
    let mut held_back = 0;
    for n in 0..20 {
        let admitted = recorder.admit(&warning(Level::Warning, n), now);
        held_back += admitted.held_back;
    }
    assert_eq!(held_back, 17);
    // The other level has tokens of its own.
    let critical = warning(Level::Critical, 30);
    assert_eq!(
        write(&mut recorder, &critical, now).await,
        [Written::Created]
    );
    for n in 0..25 {
        let mut kill = incident();
        kill.id = format!("6f1c0a52-{n}-7");
        assert_eq!(recorder.admit(&kill.into(), now).jobs.len(), 1);
    }
    let later = now + Duration::from_mins(5);
    write(&mut recorder, &warning(Level::Warning, 42), later).await;
    let note = server.events().pop().unwrap()["note"].take();
    let ends = "It was so 17 times more since the last Event.";
    assert!(note.as_str().unwrap().ends_with(ends), "{note}");
}

#[tokio::test]
async fn a_bad_annotation_is_an_event_on_its_pod() {
    let server = Fake::start(serve_pod(pod())).await;
    let mut recorder = server.recorder(true).await;
    let report = Report::BadAnnotations(Arc::new(bad_annotations()));
    assert_eq!(
        write(&mut recorder, &report, Instant::now()).await,
        [Written::Created]
    );
    let event = server.events().remove(0);
    assert_eq!(event["reason"], "AnnotationNotHeeded");
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["regarding"]["name"], "hungry");
    assert_eq!(event["regarding"]["fieldPath"], Value::Null);
    assert_eq!(*annotation(&event, "not-heeded"), r#"["critical"]"#);
    let note = event["note"].as_str().unwrap();
    let expected = "Annotation oom-bonker.dev/critical is not heeded: an expression ends at character 19 of: memory_usage > 75 &. The node's own setting holds.";
    assert_eq!(note, expected);
}

#[tokio::test]
async fn only_annotations_of_the_same_pod_are_read() {
    let serve = |uid: &str| {
        let uid = uid.to_owned();
        Fake::start(move |request| match request.line.as_str() {
            "GET /api/v1/namespaces/shop/pods/hungry" => {
                let annotations = json!({"oom-bonker.dev/warning": "60", "other": "x"});
                let metadata = json!({"name": "hungry", "uid": uid, "annotations": annotations});
                let kind = "PartialObjectMetadata";
                let version = "meta.k8s.io/v1";
                (
                    200,
                    None,
                    json!({"apiVersion": version, "kind": kind, "metadata": metadata}),
                )
            }
            _ => status(403),
        })
    };
    let hungry = near(Level::Warning).pod.unwrap();
    let server = serve(UID).await;
    let reader = server.recorder(true).await.pod_reader();
    let found = reader.annotations(&hungry).await.unwrap();
    assert_eq!(
        found,
        [("oom-bonker.dev/warning".to_owned(), "60".to_owned())].into()
    );
    let other = Pod {
        name: Some("other".to_owned()),
        ..hungry.clone()
    };
    let refused = reader.annotations(&other).await.unwrap_err();
    assert!(matches!(refused, LookupError::Forbidden), "{refused}");
    let hostile = Pod {
        name: Some("../../secrets".to_owned()),
        ..hungry.clone()
    };
    assert!(reader.annotations(&hostile).await.is_err());
    assert_eq!(
        server.requests().len(),
        2,
        "no request for the hostile name"
    );
    let replaced = serve("another").await;
    let reader = replaced.recorder(true).await.pod_reader();
    let replaced = reader.annotations(&hungry).await.unwrap_err();
    assert!(matches!(replaced, LookupError::Replaced), "{replaced}");
}

#[tokio::test]
async fn the_warning_of_a_pods_limit_is_on_the_pod_and_throttling_has_its_own_advice() {
    let server = Fake::start(accept_events).await;
    let mut recorder = server.recorder(true).await;
    let mut pods = near(Level::Warning);
    pods.container = None;
    let mut throttled = near(Level::Critical);
    throttled.crossing.sample.throttles = true;
    for warning in [pods, throttled] {
        write(
            &mut recorder,
            &Report::Warning(Arc::new(warning)),
            Instant::now(),
        )
        .await;
    }
    let events = server.events();
    assert_eq!(events[0]["regarding"]["fieldPath"], Value::Null);
    let note = |n: usize| events[n]["note"].as_str().unwrap().to_owned();
    assert!(
        note(0).contains("the limit is the pod's own"),
        "{}",
        note(0)
    );
    assert!(
        note(1).contains("from there on the kernel slows it down"),
        "{}",
        note(1)
    );
}

fn no_victim(pod: Option<Pod>) -> Report {
    let sighting = Sighting {
        cause: Cause::NoKillableProcess,
        cgroup: "/system/unkillable".to_owned(),
        limit_bytes: Some(32 << 20),
        trigger: None,
        stamp_ns: 812_345_678_901,
    };
    let host = Host {
        node: "node-a".to_owned(),
        boot: "6f1c0a52".to_owned(),
        ..Host::read(None)
    };
    Report::NoVictim(Arc::new(NoVictim {
        incident: sighting.into_incident(
            &host,
            &NodeRoot::default(),
            "2026-11-21T09:00:00Z".parse().unwrap(),
        ),
        container: None,
        pod,
    }))
}

#[tokio::test]
async fn the_event_of_an_oom_without_a_victim_is_on_its_pod_or_the_node() {
    let server = Fake::start(accept_events).await;
    let mut recorder = server.recorder(true).await;
    for pod in [near(Level::Warning).pod, None] {
        write(&mut recorder, &no_victim(pod), Instant::now()).await;
    }
    // Both are of one cgroup: the second is only counted.
    assert_eq!(server.events().len(), 1);
    assert_eq!(server.events()[0]["regarding"]["kind"], "Pod");
    let mut another = server.recorder(true).await;
    write(&mut another, &no_victim(None), Instant::now()).await;
    let event = server.events().pop().unwrap();
    assert_eq!(event["regarding"]["kind"], "Node");
    assert_eq!(event["reason"], "OOMWithoutVictim");
    assert_eq!(event["metadata"]["name"], "node-a.6f1c0a52-812345678901-0");
    let note = event["note"].as_str().unwrap();
    assert!(
        note.starts_with("Cgroup /system/unkillable is out of memory"),
        "{note}"
    );
    // Not where the Node's name is a guess.
    let mut guesses = server.recorder(false).await;
    assert!(
        guesses
            .admit(&no_victim(None), Instant::now())
            .jobs
            .is_empty()
    );
}
