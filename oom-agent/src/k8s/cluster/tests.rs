//! The requests on the wire, and how answers are read.

use serde_json::{Value, json};

use super::*;
use crate::k8s::fake::{self, Fake, Request, Response as Answer};
use crate::k8s::{Ended, List};

fn pod(name: &str, version: &str, status: &Value) -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "resourceVersion": version,
            "annotations": {"much": "text"}, "managedFields": [{"fieldsV1": {"f:metadata": {}}}]},
        "spec": {"nodeName": "node-a", "containers": [{"name": "main", "image": "i"}]},
        "status": status,
    })
}

fn killed(id: &str) -> Value {
    json!({"terminated": {"containerID": id, "reason": "OOMKilled", "exitCode": 137,
        "startedAt": "2026-11-21T08:59:00Z", "finishedAt": "2026-11-21T09:00:00Z"}})
}

#[tokio::test]
async fn a_list_comes_in_pages_with_all_ended_containers() {
    let status = json!({
        "phase": "Running",
        "initContainerStatuses": [{"name": "fill", "state": killed("containerd://1"), "lastState": {}}],
        "containerStatuses": [{"name": "main", "ready": false, "state": {"running": {"startedAt": null}},
            "lastState": killed("containerd://2")}],
        "ephemeralContainerStatuses": [{"name": "debug", "state": killed("containerd://3")}],
    });
    let answer = move |request: &Request| {
        if request.line.contains("continue=more") {
            let items = [pod("b", "8", &json!({}))];
            let list =
                json!({"metadata": {"resourceVersion": "9", "continue": ""}, "items": items});
            return Answer::json(200, &list);
        }
        let items = [pod("a", "7", &status)];
        Answer::json(
            200,
            &json!({"metadata": {"resourceVersion": "9", "continue": "more"}, "items": items}),
        )
    };
    let (fake, cluster) = Fake::start_cluster(answer).await;
    let first = cluster.list_pods("", 100).await.unwrap();
    assert_eq!(first.metadata.next, "more");
    let a = &first.items[0];
    let (metadata, node) = (&a.metadata, a.spec.node_name.as_deref());
    assert_eq!(
        (metadata.namespace.as_str(), metadata.uid.as_str(), node),
        ("shop", "uid-a", Some("node-a"))
    );
    let all_ended = || {
        a.container_statuses()
            .flat_map(|(list, container)| container.ended().map(move |ended| (list, ended)))
    };
    let ended: Vec<_> = all_ended()
        .map(|(list, ended)| (list, ended.container_id.as_str()))
        .collect();
    let all = [
        (List::InitContainers, "containerd://1"),
        (List::Containers, "containerd://2"),
        (List::EphemeralContainers, "containerd://3"),
    ];
    assert_eq!(ended, all);
    let finished = all_ended().next().unwrap().1.finished_at.unwrap();
    assert_eq!(finished.to_string(), "2026-11-21T09:00:00Z");
    let last = cluster.list_pods(&first.metadata.next, 100).await.unwrap();
    let metadata = &last.metadata;
    assert_eq!(
        (metadata.next.as_str(), metadata.resource_version.as_str()),
        ("", "9")
    );
    assert!(last.items[0].container_statuses().next().is_none());
    assert_eq!(fake.requests()[0].line, "GET /api/v1/pods?&limit=100");
}

#[tokio::test]
async fn a_watch_gives_changes_and_the_version_to_resume_at() {
    let changes = [
        json!({"type": "ADDED", "object": pod("a", "10", &json!({}))}),
        json!({"type": "BOOKMARK", "object": {"kind": "Pod", "apiVersion": "v1",
            "metadata": {"resourceVersion": "11"}, "spec": {"containers": null}, "status": {}}}),
        json!({"type": "DELETED", "object": pod("a", "12", &json!({}))}),
        json!({"type": "ERROR", "object": fake::status(410).2}),
    ];
    let (fake, cluster) = Fake::start_cluster(move |_| Answer::open(&changes)).await;
    let mut stream = cluster.watch_pods("9").await.unwrap();
    assert!(matches!(stream.next().await, Ok(Some(Change::Applied(_)))));
    assert!(matches!(stream.next().await, Ok(Some(Change::Bookmark))));
    assert_eq!(stream.version, "11");
    assert!(matches!(stream.next().await, Ok(Some(Change::Deleted(_)))));
    assert!(stream.next().await.unwrap_err().is_expired());
    let line = &fake.requests()[0].line;
    assert!(
        line.contains("watch=true")
            && line.contains("resourceVersion=9")
            && line.contains("allowWatchBookmarks=true"),
        "{line}"
    );
}

#[tokio::test]
async fn a_change_that_is_cut_off_is_dropped() {
    let change = json!({"type": "ADDED", "object": pod("a", "10", &json!({}))});
    let whole = change.to_string().len() + 1;
    let answer =
        move |_: &Request| Answer::changes(&[change.clone(), change.clone()]).cut_to(whole + 40);
    let (_fake, cluster) = Fake::start_cluster(answer).await;
    let mut stream = cluster.watch_pods("9").await.unwrap();
    assert!(stream.next().await.unwrap().is_some());
    assert!(stream.next().await.unwrap().is_none());
}

#[tokio::test]
async fn an_endless_answer_is_refused() {
    let endless = vec![0; 9 << 20];
    let (_fake, cluster) = Fake::start_cluster(move |_| Answer::changes(&[json!(endless)])).await;
    let mut stream = cluster.watch_pods("9").await.unwrap();
    let error = stream.next().await.unwrap_err();
    assert!(error.is_too_long(), "{error:?}");
}

#[tokio::test]
async fn a_malformed_answer_is_an_error() {
    let (_fake, cluster) = Fake::start_cluster(|_| Answer::json(200, &json!({"items": 7}))).await;
    let listed = cluster.list_pods("", 100).await;
    assert!(listed.unwrap_err().is_unreadable());
}

#[tokio::test]
async fn a_refusal_names_the_missing_right() {
    let (_fake, cluster) = Fake::start_cluster(|_| Answer::status(403)).await;
    let refusals = [
        cluster.list_pods("", 100).await.err(),
        cluster.watch_pods("1").await.err(),
        cluster.list_agent_events("shop", "a").await.err(),
        cluster.read_lease("l").await.err(),
    ];
    let rights = [
        "`list` on `pods`",
        "`watch` on `pods`",
        "`list` on `events`",
        "`get` on `leases`",
    ];
    for (refusal, right) in refusals.into_iter().zip(rights) {
        let refusal = refusal.unwrap();
        let text = service::error_chain::chain(&refusal).to_string();
        assert!(text.contains(right) && text.contains("own words"), "{text}");
        assert!(!refusal.is_transient());
    }
}

#[tokio::test]
async fn a_busy_server_is_transient_and_an_old_version_is_expired() {
    for (code, transient) in [(401, true), (429, true), (503, true), (422, false)] {
        let (_fake, cluster) = Fake::start_cluster(move |_| Answer::status(code)).await;
        let error = cluster.list_pods("", 100).await.unwrap_err();
        assert_eq!(error.is_transient(), transient, "{code}");
    }
    let (_fake, cluster) = Fake::start_cluster(|_| Answer::status(410)).await;
    let watched = cluster.watch_pods("1").await;
    assert!(watched.err().unwrap().is_expired());
}

#[tokio::test]
async fn an_agents_event_is_read_with_any_fields_missing() {
    let answer = |_: &Request| {
        let event = json!({
            "metadata": {"name": "a.1", "namespace": "shop", "annotations": {
                "oom-bonker.dev/container-id": "17db", "oom-bonker.dev/pod-api-uid": "other"}},
            "eventTime": "2026-11-21T09:00:00.123456Z",
            "series": {"count": 2, "lastObservedTime": "2026-11-21T09:05:00.000000Z"},
            "regarding": {"kind": "Pod", "name": "a", "uid": "uid-a", "fieldPath": "spec.containers{main}"},
        });
        let bare = json!({"metadata": {}, "eventTime": null});
        Answer::json(200, &json!({"metadata": {}, "items": [event, bare]}))
    };
    let (fake, cluster) = Fake::start_cluster(answer).await;
    let events = cluster.list_agent_events("shop", "a").await.unwrap();
    let whole = AgentEvent {
        pod_uid: Some("other".to_owned()),
        container: Some("main".to_owned()),
        container_id: Some("17db".to_owned()),
        time: Some("2026-11-21T09:00:00.123456Z".parse().unwrap()),
        counted: Some("2026-11-21T09:05:00Z".parse().unwrap()),
    };
    assert_eq!(events, [whole, AgentEvent::default()]);
    let line = &fake.requests()[0].line;
    let selector = "regarding.kind%3DPod%2Cregarding.name%3Da%2CreportingController%3Doom-bonker.dev%2Foom-agent";
    assert!(line.contains(selector), "{line}");
}

fn kill() -> StatusKill {
    let finished_at = "2026-11-21T09:00:00Z".parse().unwrap();
    StatusKill {
        namespace: "shop".to_owned(),
        pod: "hungry".to_owned(),
        uid: "a38c12e8-255a-11e9-8cd9-0007cb0b2cc8".to_owned(),
        node: Some("node-a".to_owned()),
        list: List::InitContainers,
        container: "fill\u{1b}[31m".to_owned(),
        ended: Ended {
            container_id: "containerd://17db96a24ae1e9dd57143e62".to_owned(),
            finished_at: Some(finished_at),
            ..Ended::default()
        },
        finished_at,
    }
}

#[tokio::test]
async fn an_event_is_created_once_with_all_its_fields() {
    let mut exists = false;
    let answer = move |request: &Request| {
        if std::mem::replace(&mut exists, true) {
            Answer::status(409)
        } else {
            Answer::json(201, &request.body)
        }
    };
    let (fake, cluster) = Fake::start_cluster(answer).await;
    assert!(cluster.create_event(&kill(), "me").await.unwrap());
    assert!(!cluster.create_event(&kill(), "me").await.unwrap());
    let request = &fake.requests()[0];
    assert_eq!(request.line, "POST /api/v1/namespaces/shop/events?");
    assert_eq!(
        request.body,
        json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": "hungry.k8s-a38c12e8-17db96a24ae1e9dd-1795251600", "namespace": "shop",
                "annotations": {"oom-bonker.dev/container-id": "17db96a24ae1e9dd57143e62"}},
            "type": "Warning", "reason": "PreviousContainerWasOOMKilled", "action": "Kill",
            "message": "The previous instance of the container 'fill\\u{1b}[31m' (containerd://17db96a24ae1e9dd57143e62) was OOMKilled",
            "eventTime": "2026-11-21T09:00:00.000000Z",
            "firstTimestamp": "2026-11-21T09:00:00Z", "lastTimestamp": "2026-11-21T09:00:00Z", "count": 1,
            "source": {"component": "oom-bonker.dev/watch-pods"},
            "reportingComponent": "oom-bonker.dev/watch-pods", "reportingInstance": "me",
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "hungry",
                "uid": "a38c12e8-255a-11e9-8cd9-0007cb0b2cc8", "fieldPath": "spec.initContainers{fill\u{1b}[31m}"},
            "related": {"apiVersion": "v1", "kind": "Node", "name": "node-a"},
        })
    );
}

fn refusal(code: u16, reason: &str, message: &str) -> Value {
    let (_, _, mut body) = fake::status(code);
    (body["reason"], body["message"]) = (json!(reason), json!(message));
    body
}

#[tokio::test]
async fn a_refusal_of_an_event_names_its_cause() {
    const WEBHOOK: &str = "admission webhook \"w.example\" denied the request: no";
    const QUOTA: &str = "events \"a.1\" is forbidden: exceeded quota: q, requested: count/events=1";
    for (code, message, advice, transient) in [
        (
            403,
            "namespace shop because it is being terminated",
            "does not write",
            false,
        ),
        (403, WEBHOOK, "admission webhook or policy denies", false),
        (403, QUOTA, "ResourceQuota has no room", false),
        (409, WEBHOOK, "failed to write", true),
        (500, "failed calling webhook", "failed to write", true),
    ] {
        let body = refusal(code, "", message);
        let (_fake, cluster) = Fake::start_cluster(move |_| Answer::json(code, &body)).await;
        let error = cluster.create_event(&kill(), "me").await.unwrap_err();
        let text = service::error_chain::chain(&error).to_string();
        assert!(
            text.contains(advice) && text.contains(message),
            "{code} {text}"
        );
        assert_eq!(error.is_transient(), transient, "{text}");
    }
}

#[tokio::test]
async fn a_lease_that_a_webhook_denies_is_an_error() {
    let body = refusal(
        409,
        "Conflict",
        "admission webhook \"w\" denied the request: no",
    );
    let (_fake, cluster) = Fake::start_cluster(move |_| Answer::json(409, &body)).await;
    let written = cluster.write_lease("l", &Lease::default()).await;
    assert!(written.unwrap_err().is_transient());
}

#[tokio::test]
async fn a_lease_is_replaced_only_at_the_version_read() {
    let answer = |request: &Request| {
        if request.line.starts_with("GET") {
            return Answer::json(
                200,
                &json!({"metadata": {"name": "l", "resourceVersion": "41"},
                    "spec": {"holderIdentity": "other", "leaseDurationSeconds": 15, "leaseTransitions": 3,
                        "renewTime": "2026-11-21T09:00:00.000000Z"}}),
            );
        }
        Answer::status(409)
    };
    let (fake, cluster) = Fake::start_cluster(answer).await;
    assert_eq!(cluster.namespace(), "penguins");
    let lease = cluster.read_lease("l").await.unwrap().unwrap();
    assert_eq!(
        (lease.holder.as_str(), lease.version.as_str()),
        ("other", "41")
    );
    assert_eq!(lease.seconds, 15);
    let written = cluster.write_lease("l", &lease).await.unwrap();
    assert!(!written);
    let put = &fake.requests()[1];
    let path = "/apis/coordination.k8s.io/v1/namespaces/penguins/leases/l?";
    assert_eq!(put.line, format!("PUT {path}"));
    assert_eq!(put.body["metadata"]["resourceVersion"], "41");
    assert_eq!(put.body["spec"]["leaseTransitions"], 3);
}

#[tokio::test]
async fn the_404_of_a_proxy_is_no_missing_lease() {
    let (_fake, cluster) = Fake::start_cluster(|_| Answer::json(404, &json!("no such page"))).await;
    let error = cluster.read_lease("l").await.unwrap_err().to_string();
    assert!(error.ends_with("read the lease"), "{error}");
}

#[tokio::test]
async fn a_missing_lease_is_created() {
    let answer = |request: &Request| {
        if request.line.starts_with("GET") {
            Answer::status(404)
        } else {
            Answer::json(201, &request.body)
        }
    };
    let (fake, cluster) = Fake::start_cluster(answer).await;
    assert_eq!(cluster.read_lease("l").await.unwrap(), None);
    let first = Lease {
        holder: "me".to_owned(),
        ..Lease::default()
    };
    let written = cluster.write_lease("l", &first).await.unwrap();
    assert!(written);
    let line = &fake.requests()[1].line;
    assert!(line.starts_with("POST"), "{line}");
}
