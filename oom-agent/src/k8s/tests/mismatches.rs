//! Events of status mismatches, beside the kill's own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{annotation, pod, serve_pod};
use crate::incident::{Container, Incident, Outcome, Scope};
use crate::k8s::fake::{Fake, UID, accept_events, incident};
use crate::k8s::{Job, Recorder, Written};
use crate::report::Report;
use crate::status_check::{Mismatch, MismatchKind, State, Status};

/// `container` runs, and its runtime calls it OOM-killed.
fn mismatch(verdict: MismatchKind, container: &str, n: usize) -> Arc<Mismatch> {
    let mut incident: Incident = incident();
    incident.id = format!("6f1c0a52-{n}-4242");
    incident.outcome = Outcome::ChildDied;
    incident.scope = Scope::Pod;
    incident.victims[0].namespace_pid = Some(7);
    incident.victims[0].first_process = Some(false);
    let main = incident.victims[0].container.clone().unwrap();
    let idle = Container {
        id: "18ec".repeat(16),
        name: Some("idle".to_owned()),
        ..main.clone()
    };
    Arc::new(Mismatch {
        verdict,
        status: Status {
            container: if container == "main" { main } else { idle },
            pod: incident.victims[0].pod.clone(),
            state: State::Running,
            reason: "OOMKilled".to_owned(),
            exit_code: 0,
            created: incident.time,
            finished: None,
        },
        incident: Arc::new(incident),
        time: "2026-11-21T09:00:10.5Z".parse().unwrap(),
    })
}

async fn write(recorder: &mut Recorder, mismatch: &Arc<Mismatch>, now: Instant) -> Vec<Written> {
    let mut written = Vec::new();
    for (mut job, _) in recorder
        .admit(&Report::Mismatch(Arc::clone(mismatch)), now)
        .jobs
    {
        written.push(recorder.write(&mut job, false).await.unwrap());
    }
    written
}

#[tokio::test]
async fn a_missed_kill_is_a_warning_on_its_container() {
    let server = Fake::start(serve_pod(pod())).await;
    let mut recorder = server.recorder(true).await;
    let found = mismatch(MismatchKind::Missed, "main", 1);
    assert_eq!(
        write(&mut recorder, &found, Instant::now()).await,
        [Written::Created]
    );
    let mut event = server.events().remove(0);
    let note = event["note"].take();
    assert!(
        note.as_str()
            .unwrap()
            .starts_with("Kubernetes does not report this kill: tail (pid 4242) in container main")
    );
    assert_eq!(*annotation(&event, "verdict"), "missed");
    assert_eq!(*annotation(&event, "incident"), "6f1c0a52-1-4242");
    assert_eq!(*annotation(&event, "status-state"), "running");
    assert_eq!(*annotation(&event, "status-reason"), "OOMKilled");
    assert_eq!(*annotation(&event, "status-exit-code"), Value::Null);
    event["metadata"]["annotations"].take();
    assert_eq!(
        event,
        json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": {"name": "hungry.6f1c0a52-1-4242.missed.17db", "namespace": "shop", "annotations": null},
            "type": "Warning", "reason": "OOMKillMissed", "action": "CompareStatus", "note": null,
            "eventTime": "2026-11-21T09:00:10.500000Z",
            "deprecatedFirstTimestamp": "2026-11-21T09:00:10Z", "deprecatedLastTimestamp": "2026-11-21T09:00:10Z",
            "deprecatedCount": 1, "deprecatedSource": {"component": "oom-bonker.dev/oom-agent"},
            "reportingController": "oom-bonker.dev/oom-agent", "reportingInstance": "node-a",
            "regarding": {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "hungry",
                "uid": UID, "fieldPath": "spec.containers{main}"},
            "related": {"apiVersion": "v1", "kind": "Node", "name": "node-a", "uid": "node-a"},
        })
    );
}

#[tokio::test]
async fn a_phantoms_event_is_on_the_container_wrongly_called_killed() {
    let server = Fake::start(accept_events).await;
    let mut recorder = server.recorder(true).await;
    let found = mismatch(MismatchKind::Phantom, "idle", 1);
    write(&mut recorder, &found, Instant::now()).await;
    let event = server.events().remove(0);
    assert_eq!(event["reason"], "OOMKillPhantom");
    // Nothing is wrong with the container.
    assert_eq!(event["type"], "Normal");
    assert_eq!(
        event["metadata"]["name"],
        "hungry.6f1c0a52-1-4242.phantom.18ec18ec18ec"
    );
    assert_eq!(event["regarding"]["fieldPath"], "spec.containers{idle}");
    assert_eq!(*annotation(&event, "victims"), "[]");
}

#[tokio::test]
async fn many_mismatches_are_one_event_and_leave_the_kills_their_tokens() {
    let server = Fake::start(accept_events).await;
    let mut recorder = server.recorder(true).await;
    let now = Instant::now();
    let mut updates = Vec::new();
    let mut held_back = 0;
    for n in 1..=40 {
        let admitted = recorder.admit(
            &Report::Mismatch(mismatch(MismatchKind::Missed, "main", n)),
            now,
        );
        held_back += admitted.held_back;
        for (mut job, _) in admitted.jobs {
            match job {
                Job::Event(_) => {
                    recorder.write(&mut job, false).await.unwrap();
                }
                Job::Series(_) => updates.push(job),
            }
        }
    }
    assert_eq!(
        (server.events().len(), updates.len(), held_back),
        (1, 1, 39)
    );
    recorder.write(&mut updates[0], false).await.unwrap();
    let patch = server.requests().pop().unwrap();
    assert_eq!(
        patch.line,
        "PATCH /api/v1/namespaces/shop/events/hungry.6f1c0a52-1-4242.missed.17db?"
    );
    assert_eq!(
        patch.body,
        json!({"count": 40, "lastTimestamp": "2026-11-21T09:00:10Z",
            "series": {"count": 40, "lastObservedTime": "2026-11-21T09:00:10.500000Z"}})
    );
    // Another verdict, and the kills, have buckets of their own.
    let phantom = mismatch(MismatchKind::Phantom, "main", 41);
    assert_eq!(
        write(&mut recorder, &phantom, now).await,
        [Written::Created]
    );
    for n in 0..25 {
        let mut kill = incident();
        kill.id = format!("6f1c0a52-{n}-7");
        assert_eq!(recorder.admit(&kill.into(), now).jobs.len(), 1);
    }
    // A later Event has their count.
    let later = now + Duration::from_mins(5);
    write(
        &mut recorder,
        &mismatch(MismatchKind::Missed, "main", 42),
        later,
    )
    .await;
    let note = server.events().pop().unwrap()["note"].take();
    assert!(
        note.as_str()
            .unwrap()
            .ends_with("The same was found 39 times more since the last Event."),
        "{note}"
    );
}

#[tokio::test]
async fn a_mismatch_of_a_pod_without_a_name_has_no_event_on_the_node() {
    let mut found = Arc::unwrap_or_clone(mismatch(MismatchKind::Missed, "main", 1));
    let pod = found.status.pod.as_mut().unwrap();
    (pod.name, pod.namespace) = (None, None);
    let server = Fake::start(accept_events).await;
    let mut recorder = server.recorder(true).await;
    let mut admitted = recorder.admit(&Report::Mismatch(Arc::new(found)), Instant::now());
    let (job, _) = &mut admitted.jobs[0];
    assert_eq!(recorder.write(job, true).await.unwrap(), Written::Nothing);
    assert!(server.events().is_empty());
    // And a container of no pod has no Event.
    let mut found = Arc::unwrap_or_clone(mismatch(MismatchKind::Phantom, "idle", 1));
    found.status.pod = None;
    let admitted = recorder.admit(&Report::Mismatch(Arc::new(found)), Instant::now());
    assert!(admitted.jobs.is_empty());
}
