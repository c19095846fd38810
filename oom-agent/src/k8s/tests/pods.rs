//! Lookups of pods, and Events without them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use super::{annotation, pod, serve_pod, write, write_all};
use crate::incident::Incident;
use crate::k8s::fake::{Fake, Request, UID, accept_events, incident, status};
use crate::k8s::{LookupError, RecordError, Written};
use crate::status_check::Stored;

#[tokio::test]
async fn the_field_path_is_that_of_the_containers_own_list() {
    for (name, path) in [
        ("setup", "spec.initContainers{setup}"),
        ("debug", "spec.ephemeralContainers{debug}"),
        ("unheard-of", "spec.containers{unheard-of}"),
    ] {
        let server = Fake::start(serve_pod(pod())).await;
        let mut incident = incident();
        incident.victims[0].container.as_mut().unwrap().name = Some(name.to_owned());
        let mut recorder = server.recorder(true).await;
        write(&mut recorder, incident).await.unwrap();
        assert_eq!(server.events()[0]["regarding"]["fieldPath"], path);
    }
}

#[tokio::test]
async fn a_container_without_a_name_gets_it_from_the_pods_status() {
    let server = Fake::start(serve_pod(pod())).await;
    let mut incident = incident();
    incident.victims[0].container.as_mut().unwrap().name = None;
    let mut recorder = server.recorder(true).await;
    write(&mut recorder, incident).await.unwrap();
    assert_eq!(
        server.events()[0]["regarding"]["fieldPath"],
        "spec.containers{main}"
    );
}

#[tokio::test]
async fn a_pods_status_is_read_again_until_it_has_the_containers_id() {
    let reported = Arc::new(AtomicBool::new(false));
    let shown = Arc::clone(&reported);
    let server = Fake::start(move |request: &Request| {
        let mut pod = pod();
        if !shown.load(Ordering::SeqCst) {
            pod["status"] = json!({});
        }
        serve_pod(pod)(request)
    })
    .await;
    let mut incident = incident();
    incident.victims[0].container.as_mut().unwrap().name = None;
    let mut recorder = server.recorder(true).await;
    let jobs = recorder.admit(&incident.into(), Instant::now()).jobs;
    let mut job = jobs.into_iter().next().unwrap().0;
    let unnamed = recorder.write(&mut job, false).await;
    assert!(matches!(unnamed, Err(RecordError::Unnamed { .. })));
    reported.store(true, Ordering::SeqCst);
    assert_eq!(
        recorder.write(&mut job, false).await.unwrap(),
        Written::Created
    );
}

#[tokio::test]
async fn a_pod_is_looked_up_once_for_many_events() {
    let server = Fake::start(serve_pod(pod())).await;
    let mut recorder = server.recorder(true).await;
    for n in 0..3 {
        let mut incident = incident();
        incident.id = n.to_string();
        write(&mut recorder, incident).await.unwrap();
    }
    assert_eq!((server.requests().len(), server.events().len()), (4, 3));
}

#[tokio::test]
async fn without_the_right_to_read_pods_the_event_is_degraded_and_lookups_stop() {
    let server = Fake::start(|request: &Request| {
        if request.line.starts_with("GET") {
            status(403)
        } else {
            accept_events(request)
        }
    })
    .await;
    let mut recorder = server.recorder(true).await;
    for n in 0..2 {
        let mut incident = incident();
        incident.id = n.to_string();
        assert_eq!(
            write(&mut recorder, incident).await.unwrap(),
            Written::Created
        );
    }
    assert_eq!(server.requests().len(), 3);
    let event = server.events().remove(1);
    assert_eq!(event["regarding"]["fieldPath"], "spec.containers{main}");
    assert_eq!(event["regarding"]["uid"], UID);
    let degraded = annotation(&event, "degraded").as_str().unwrap();
    assert!(
        degraded.contains("needs `get` and `list` on `pods`"),
        "{degraded}"
    );
}

#[tokio::test]
async fn another_pod_of_the_same_name_is_not_the_victims() {
    let mut other = pod();
    other["metadata"]["uid"] = json!("another");
    let server = Fake::start(serve_pod(other)).await;
    let mut recorder = server.recorder(true).await;
    write(&mut recorder, incident()).await.unwrap();
    let event = server.events().remove(0);
    assert_eq!(event["regarding"]["uid"], UID);
    assert_eq!(*annotation(&event, "owner"), Value::Null);
    assert!(
        annotation(&event, "degraded")
            .as_str()
            .unwrap()
            .contains("taken its name")
    );
}

#[tokio::test]
async fn a_pod_without_a_name_is_found_by_uid_in_the_list_of_the_nodes_pods() {
    let key = "9729a196c4723b60ab401eaff722982d";
    for (annotations, uid) in [
        (json!({}), UID),
        (
            json!({"kubernetes.io/config.mirror": key, "kubernetes.io/config.hash": key}),
            key,
        ),
    ] {
        let mut stored = pod();
        stored["metadata"]["annotations"] = annotations;
        let server = Fake::start(serve_pod(stored)).await;
        let mut incident = incident();
        let found = incident.victims[0].pod.as_mut().unwrap();
        (found.name, found.namespace, found.uid) = (None, None, Some(uid.to_owned()));
        let mut recorder = server.recorder(true).await;
        write(&mut recorder, incident).await.unwrap();
        let requests = server.requests();
        assert_eq!(
            requests[0].line,
            "GET /api/v1/pods?&fieldSelector=spec.nodeName%3Dnode-a&resourceVersion=0&resourceVersionMatch=NotOlderThan"
        );
        let event = server.events().remove(0);
        assert_eq!(event["regarding"]["name"], "hungry");
        assert_eq!(event["regarding"]["uid"], uid);
    }
}

fn incident_without_pod_name() -> Incident {
    let mut incident = incident();
    let found = incident.victims[0].pod.as_mut().unwrap();
    (found.name, found.namespace) = (None, None);
    incident
}

#[tokio::test]
async fn an_event_without_the_pods_name_is_on_the_node() {
    let server = Fake::start(accept_events).await;
    let mut recorder = server.recorder(true).await;
    let waits = write(&mut recorder, incident_without_pod_name())
        .await
        .unwrap_err();
    assert!(waits.is_transient() && waits.is_wait() && !waits.is_servers());
    let written = write_all(&mut recorder, incident_without_pod_name(), true)
        .await
        .remove(0);
    assert_eq!(written.unwrap(), Written::Created);
    let event = server.events().remove(0);
    assert_eq!(event["regarding"]["kind"], "Node");
    assert_eq!(
        event["metadata"]["name"],
        "node-a.6f1c0a52-812345678901-4242.pod0"
    );
    assert_eq!(*annotation(&event, "pod-uid"), UID);
    assert!(event["note"].as_str().unwrap().contains(UID), "{event:#}");
}

#[tokio::test]
async fn an_invalid_name_never_becomes_part_of_a_url() {
    for hostile in ["../../nodes", "a/b", "", "A", "x?y", "."] {
        let server = Fake::start(accept_events).await;
        let mut incident = incident();
        incident.victims[0].pod.as_mut().unwrap().namespace = Some(hostile.to_owned());
        let mut recorder = server.recorder(true).await;
        write(&mut recorder, incident).await.unwrap_err();
        let requests = server.requests();
        assert!(
            requests
                .iter()
                .all(|request| request.line.starts_with("GET /api/v1/pods?")),
            "{requests:?}"
        );
    }
}

fn ended(id: &str, reason: &str, code: i32) -> Value {
    json!({"terminated": {"containerID": format!("containerd://{id}"), "reason": reason, "exitCode": code,
        "finishedAt": "2026-11-21T09:00:01Z"}})
}

#[tokio::test]
async fn stored_statuses_are_read_from_all_lists() {
    let mut pod = pod();
    let status = |name: &str, state: Value, last: Value| {
        json!({"name": name, "containerID": "containerd://now", "image": "", "imageID": "", "ready": true,
            "restartCount": 1, "state": state, "lastState": last})
    };
    pod["status"] = json!({
        "containerStatuses": [
            status("main", json!({"running": {}}), ended("dead", "Error", 137)),
            status("waits", json!({"waiting": {"reason": "CrashLoopBackOff"}}), ended("now", "OOMKilled", 137)),
        ],
        "initContainerStatuses": [status("setup", ended("init", "OOMKilled", 0), json!({}))],
        "ephemeralContainerStatuses": [status("debug", ended("debug", "Completed", 0), json!({}))],
    });
    let server = Fake::start(serve_pod(pod)).await;
    let reader = server.recorder(true).await.pod_reader();
    let pod = incident().victims[0].pod.clone().unwrap();
    let stored = reader.stored(&pod).await.unwrap();
    let short = |stored: &Stored| {
        let ended = stored.ended.as_ref();
        (
            stored.container_id.clone(),
            ended.map(|ended| (ended.reason.clone(), ended.exit_code)),
        )
    };
    let end = |id: &str, reason: &str, code| (id.to_owned(), Some((reason.to_owned(), code)));
    assert_eq!(
        stored.iter().map(short).collect::<Vec<_>>(),
        [
            end("init", "OOMKilled", 0),
            end("dead", "Error", 137),
            ("now".to_owned(), None),
            end("now", "OOMKilled", 137),
            end("debug", "Completed", 0),
        ]
    );
    let finished = stored[1].ended.as_ref().unwrap().finished.unwrap();
    assert_eq!(finished.to_string(), "2026-11-21T09:00:01Z");
    // One pod, never a list or a watch.
    assert_eq!(
        server.requests()[0].line,
        "GET /api/v1/namespaces/shop/pods/hungry"
    );
    let mut replaced = pod;
    replaced.uid = Some("another".to_owned());
    assert!(matches!(
        reader.stored(&replaced).await,
        Err(LookupError::Replaced)
    ));
}
