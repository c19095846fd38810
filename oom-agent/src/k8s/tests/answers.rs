//! How the API server's refusals are handled.

use std::time::Duration;

use serde_json::json;

use super::write;
use crate::k8s::fake::{Fake, Request, incident, status};
use crate::k8s::{RecordError, Written};

#[tokio::test]
async fn an_event_that_exists_already_is_no_failure() {
    let server = Fake::start(|_: &Request| status(409)).await;
    let mut recorder = server.recorder(true).await;
    assert_eq!(
        write(&mut recorder, incident()).await.unwrap(),
        Written::AlreadyThere
    );
}

#[tokio::test]
async fn a_refusal_names_the_missing_right_and_is_not_repeated() {
    let server = Fake::start(|_: &Request| status(403)).await;
    let mut recorder = server.recorder(true).await;
    let error = write(&mut recorder, incident()).await.unwrap_err();
    let text = service::error_chain::chain(&error).to_string();
    assert!(
        text.contains("needs `create` and `patch` on `events`") && text.contains("own words"),
        "{text}"
    );
    assert!(!error.is_transient());
}

#[tokio::test]
async fn only_a_busy_or_failing_server_is_transient() {
    for (code, transient, servers) in [
        (400, false, false),
        (401, true, true),
        (404, false, false),
        (413, false, false),
        (422, false, false),
        (429, true, true),
        (500, true, false),
        (503, true, true),
    ] {
        let server = Fake::start(move |request: &Request| {
            if request.line.starts_with("POST") {
                (code, Some(7), json!("slow down"))
            } else {
                status(404)
            }
        })
        .await;
        let mut recorder = server.recorder(true).await;
        let error = write(&mut recorder, incident()).await.unwrap_err();
        assert_eq!(
            (error.is_transient(), error.is_servers()),
            (transient, servers),
            "{code}"
        );
        // No lower layer retries: the sink does.
        assert_eq!(server.events().len(), 1, "{code}");
        if code == 429 || code == 500 {
            assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        }
    }
}

async fn write_refused(code: u16, reason: &str, message: &str) -> RecordError {
    let (reason, message) = (json!(reason), json!(message));
    let server = Fake::start(move |request: &Request| {
        let (code, after, mut body) = status(if request.line.starts_with("POST") {
            code
        } else {
            404
        });
        (body["reason"], body["message"]) = (reason.clone(), message.clone());
        (code, after, body)
    })
    .await;
    let mut recorder = server.recorder(true).await;
    write(&mut recorder, incident()).await.unwrap_err()
}

#[tokio::test]
async fn a_denial_by_admission_has_its_own_advice() {
    for (denial, advice) in [
        (
            "unable to create new content in namespace shop because it is being terminated",
            "does not write",
        ),
        // Kubernetes 1.36.
        (
            "events \"a.1\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: no",
            "exempt Events whose reportingComponent is oom-bonker.dev/oom-agent",
        ),
        (
            "admission webhook \"w.example\" denied the request: no",
            "exempt Events whose",
        ),
        (
            "events \"a.1\" is forbidden: exceeded quota: q, requested: count/events=1",
            "raise its `count/events`",
        ),
    ] {
        let error = write_refused(403, "Forbidden", denial).await;
        let text = service::error_chain::chain(&error).to_string();
        assert!(text.contains(advice) && text.contains(denial), "{text}");
        assert!(!text.contains("needs `create`"), "{text}");
        assert!(!error.is_transient() && !error.is_servers());
    }
}

#[tokio::test]
async fn a_conflict_that_is_no_duplicate_is_transient_for_this_event_only() {
    const WEBHOOK: &str = "admission webhook \"w.example\" denied the request: no";
    for (code, reason, message) in [
        (409, "Conflict", WEBHOOK),
        (409, "AlreadyExists", WEBHOOK),
        (
            409,
            "Conflict",
            "Operation cannot be fulfilled on resourcequotas \"q\"",
        ),
        (409, "", ""),
        (429, "", WEBHOOK),
        (503, "", WEBHOOK),
    ] {
        let error = write_refused(code, reason, message).await;
        assert!(error.is_transient() && !error.is_servers(), "{error:?}");
    }
}

#[tokio::test]
async fn a_webhooks_410_is_a_denial_and_not_retried() {
    let error = write_refused(410, "Expired", "admission webhook \"w\" denied the request").await;
    assert!(!error.is_transient() && !error.is_gone(), "{error:?}");
}

#[tokio::test]
async fn a_missing_object_is_gone_and_a_webhooks_404_is_not() {
    let missing = write_refused(404, "NotFound", "events \"a.1\" not found").await;
    assert!(missing.is_gone(), "{missing:?}");
    let denied = write_refused(
        404,
        "NotFound",
        "admission webhook \"w\" denied the request",
    )
    .await;
    assert!(!denied.is_gone(), "{denied:?}");
}
