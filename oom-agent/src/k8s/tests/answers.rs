//! What is made of the API server's refusals.

use std::time::Duration;

use serde_json::json;

use super::write;
use crate::k8s::fake::{Asked, Fake, incident, status};
use crate::k8s::{RecordError, Written};

#[tokio::test]
async fn an_event_that_stands_already_is_no_failure() {
    let server = Fake::start(|_: &Asked| status(409)).await;
    let mut recorder = server.recorder(true).await;
    assert_eq!(
        write(&mut recorder, incident()).await.unwrap(),
        Written::AlreadyThere
    );
}

#[tokio::test]
async fn a_refusal_names_the_missing_right_and_is_not_repeated() {
    let server = Fake::start(|_: &Asked| status(403)).await;
    let mut recorder = server.recorder(true).await;
    let error = write(&mut recorder, incident()).await.unwrap_err();
    let text = crate::chain(&error).to_string();
    assert!(
        text.contains("needs `create` and `patch` on `events`") && text.contains("own words"),
        "{text}"
    );
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_busy_server_is_asked_again_and_a_picky_one_is_not() {
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
        let server = Fake::start(move |asked: &Asked| {
            if asked.line.starts_with("POST") {
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
        // Nobody below repeats what has its own retries.
        assert_eq!(server.events().len(), 1, "{code}");
        if code == 429 || code == 500 {
            assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        }
    }
}

#[tokio::test]
async fn what_admission_denies_is_no_missing_right() {
    for denial in [
        "unable to create new content in namespace shop because it is being terminated",
        // As Kubernetes 1.36 words it.
        "events.events.k8s.io \"a.1\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: no",
        "admission webhook \"w.example\" denied the request: no",
    ] {
        let server = Fake::start(move |_: &Asked| {
            let (code, after, mut body) = status(403);
            body["message"] = json!(denial);
            (code, after, body)
        })
        .await;
        let mut recorder = server.recorder(true).await;
        let refused = write(&mut recorder, incident()).await;
        assert!(
            matches!(refused, Err(RecordError::Refused { .. })),
            "{denial}"
        );
    }
}
