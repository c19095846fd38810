#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a helper of tests may panic"
)]

//! Alertmanager's webhook over real sockets.

mod common;

use bonker_gpio::{BODY_DEADLINE, MAX_ALERTS, MAX_HOOK_BYTES, MAX_HOOKS, MAX_HOOKS_PER_PEER};
use common::{STRIKE_US, Server, http, servo, within};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const JSON: &str = "application/json";

/// How many bonks may wait.
const CAPACITY: usize = 64;

fn alert(fingerprint: &str) -> Value {
    json!({
        "status": "firing",
        "labels": {"alertname": "OOMKilled", "namespace": "shop", "pod": fingerprint},
        "annotations": {"summary": "killed"},
        // Long ago: what fires is news all the same.
        "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": fingerprint,
    })
}

fn payload(alerts: &[Value]) -> String {
    json!({"version": "4", "status": "firing", "alerts": alerts}).to_string()
}

/// Status and body of the answer to a post.
async fn post(server: &Server, kind: &str, body: &str) -> (u16, String) {
    let head = format!(
        "POST /hook HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: {kind}\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    answer(&http::rest(&mut http::send(server.web, &(head + body)).await).await)
}

fn answer(raw: &str) -> (u16, String) {
    let (head, body) = raw.split_once("\r\n\r\n").expect(raw);
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

#[tokio::test]
async fn each_firing_alert_swings_once_however_often_it_comes() {
    let (servo, mut gate) = servo(None);
    let mut server = Server::start(servo).await;
    server.ready().await;
    let mut swings = server.app.watch();
    let mut resolved = alert("c");
    resolved["status"] = json!("resolved");
    let body = payload(&[alert("a"), resolved, alert("b")]);
    for _ in 0..3 {
        assert_eq!(post(&server, JSON, &body).await, (200, "OK".to_owned()));
    }
    for wanted in ["a", "b"] {
        let swung = within(swings.recv()).await.unwrap();
        assert_eq!(swung.bonk.pod, wanted);
        assert_eq!(swung.bonk.source, "alertmanager");
    }
    let json = "Application/JSON; charset=utf-8";
    let last = payload(&[alert("d")]);
    assert_eq!(post(&server, json, &last).await.0, 200);
    let swung = within(swings.recv()).await.unwrap();
    assert_eq!((swung.bonk.pod.as_str(), swung.swings), ("d", 3));
    gate.reached(STRIKE_US).await;
    server.stop();
    server.stopped().await;
}

#[tokio::test]
async fn an_invalid_payload_moves_nothing_and_the_answer_has_the_reason() {
    let (servo, _gate) = servo(None);
    let mut server = Server::start(servo).await;
    server.ready().await;
    let check = async |kind: &str, body: &str, status: u16, words: &str| {
        let (got, output) = post(&server, kind, body).await;
        assert_eq!(got, status, "{output}");
        assert!(output.contains(words), "{output}");
    };
    let fine = payload(&[alert("a")]);
    check(JSON, "{", 400, "not an Alertmanager payload").await;
    check(JSON, r#"{"status":"unknown"}"#, 400, "unknown variant").await;
    check("text/plain", &fine, 415, "application/json").await;
    check(
        "application/x-www-form-urlencoded",
        &fine,
        415,
        "application/json",
    )
    .await;
    check(JSON, &" ".repeat(MAX_HOOK_BYTES + 1), 413, "max_alerts").await;
    let many = vec![json!({"startsAt": "2026-11-21T09:00:00Z"}); MAX_ALERTS + 1];
    check(JSON, &payload(&many), 413, "max_alerts").await;
    let get = "GET /hook HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let raw = http::rest(&mut http::send(server.web, get).await).await;
    assert!(raw.starts_with("HTTP/1.1 405 "), "{raw}");
    assert!(raw.contains("allow: POST"), "{raw}");
    // The last one: all that was queued would have swung first.
    let mut swings = server.app.watch();
    assert_eq!(post(&server, JSON, &payload(&[alert("z")])).await.0, 200);
    let swung = within(swings.recv()).await.unwrap();
    assert_eq!((swung.bonk.pod.as_str(), swung.swings), ("z", 1));
}

#[tokio::test]
async fn a_full_queue_is_a_reason_to_come_again() {
    let (servo, mut gate) = servo(Some(STRIKE_US));
    let mut server = Server::start(servo).await;
    server.ready().await;
    assert_eq!(
        post(&server, JSON, &payload(&[alert("first")])).await.0,
        200
    );
    gate.reached(STRIKE_US).await;
    let alerts = (0..=CAPACITY).map(|n| alert(&format!("n{n}")));
    let body = payload(&alerts.collect::<Vec<_>>());
    let (status, output) = post(&server, JSON, &body).await;
    assert_eq!(status, 503, "{output}");
    assert!(output.contains("no room for 1 of"), "{output}");
    gate.open = None;
    let mut swings = server.app.watch();
    while within(swings.recv()).await.unwrap().swings <= CAPACITY as u64 {}
    // The same once more: only the one that was left out swings.
    assert_eq!(post(&server, JSON, &body).await.0, 200);
    let swung = within(swings.recv()).await.unwrap();
    assert_eq!(swung.bonk.pod, format!("n{CAPACITY}"));
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let (servo, _gate) = servo(None);
    let mut server = Server::start(servo).await;
    server.ready().await;
    let head = format!(
        "POST /hook HTTP/1.1\r\nhost: a\r\ncontent-type: {JSON}\r\ncontent-length: 100\r\n\r\n{{"
    );
    let mut slow = http::send(server.web, &head).await;
    assert_eq!(post(&server, JSON, &payload(&[])).await.0, 200);
    let mut raw = String::new();
    let patience = BODY_DEADLINE * 2;
    let _reset = tokio::time::timeout(patience, slow.read_to_string(&mut raw))
        .await
        .unwrap();
    assert!(raw.starts_with("HTTP/1.1 408 "), "{raw}");
}

#[tokio::test]
async fn a_plain_client_gets_its_shrug() {
    let (servo, _gate) = servo(None);
    let mut server = Server::start(servo).await;
    server.ready().await;
    assert!(
        http::get(server.web, "/")
            .await
            .ends_with("\r\n\r\n¯\\_(ツ)_/¯")
    );
}

#[tokio::test]
async fn metrics_count_requests_and_swings() {
    let (servo, _gate) = servo(None);
    let mut server = Server::start(servo).await;
    server.ready().await;
    let before = http::get(server.web, "/metrics").await;
    assert!(before.contains("content-type: application/openmetrics-text; version=1.0.0"));
    let value = |text: &str, series: &str| {
        let line = text.lines().find(|line| line.starts_with(series));
        line.and_then(|line| line.rsplit(' ').next().map(str::to_owned))
    };
    let bonks = r#"bonker_bonks_total{gesture="bonk",source="alertmanager"}"#;
    assert_eq!(value(&before, bonks).unwrap(), "0");
    assert_eq!(value(&before, "bonker_last_bonk_timestamp_seconds"), None);
    let mut swings = server.app.watch();
    let body = payload(&[alert("a")]);
    for _ in 0..3 {
        post(&server, JSON, &body).await;
    }
    post(&server, JSON, "{").await;
    within(swings.recv()).await.unwrap();
    let after = http::get(server.web, "/metrics").await;
    for (series, wanted) in [
        (bonks, "1"),
        (
            r#"bonker_bonks_total{gesture="bonk",source="oom-agent"}"#,
            "0",
        ),
        (r#"bonker_requests_total{outcome="accepted"}"#, "1"),
        (r#"bonker_requests_total{outcome="duplicate"}"#, "2"),
        (r#"bonker_requests_total{outcome="rate_limited"}"#, "0"),
        (r#"bonker_hook_requests_total{status="200"}"#, "3"),
        (r#"bonker_hook_requests_total{status="400"}"#, "1"),
        ("bonker_history_swings ", "1"),
        ("bonker_watchers ", "1"),
        ("bonker_failed_swings_total ", "0"),
        (r#"bonker_backend_info{name="gated"}"#, "1"),
    ] {
        assert_eq!(value(&after, series).as_deref(), Some(wanted), "{series}");
    }
    let last = value(&after, "bonker_last_bonk_timestamp_seconds").unwrap();
    let age = Timestamp::now().as_duration().as_secs_f64() - last.parse::<f64>().unwrap();
    assert!((0.0..60.0).contains(&age), "{last}");
    let pulses = value(&after, "bonker_pulses_seconds_total").unwrap();
    assert!(pulses.parse::<f64>().unwrap() > 0.0, "{pulses}");
    assert!(after.ends_with("# EOF\n"));
    let page = include_str!("../../docs/bonker-metrics.md");
    for name in after
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
    {
        let name = name.split(' ').next().unwrap();
        assert!(
            page.contains(&format!("| `{name}")),
            "{name} is not on the page"
        );
    }
}

/// Connects from `from`, one of loopback's many addresses.
async fn say_from(from: &str, server: &Server, words: &str) -> tokio::net::TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(server.web).await.unwrap();
    stream.write_all(words.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_slow_sender_leaves_room_for_others() {
    let (servo, _gate) = servo(None);
    let mut server = Server::start(servo).await;
    server.ready().await;
    let head = format!("POST /hook HTTP/1.1\r\nhost: a\r\ncontent-type: {JSON}\r\n");
    let late = format!("{head}expect: 100-continue\r\ncontent-length: 19\r\n\r\n");
    let mut slow = Vec::new();
    for _ in 0..MAX_HOOKS_PER_PEER {
        let mut stream = say_from("127.0.0.2", &server, &late).await;
        // It is being read from when the server answers 100 Continue.
        let mut output = [0; 25];
        within(stream.read_exact(&mut output)).await.unwrap();
        assert_eq!(&output, b"HTTP/1.1 100 Continue\r\n\r\n");
        slow.push(stream);
    }
    let body = r#"{"status":"firing"}"#;
    let whole = format!("{head}connection: close\r\ncontent-length: 19\r\n\r\n{body}");
    let post =
        async |from: &str| answer(&http::rest(&mut say_from(from, &server, &whole).await).await);
    let (status, why) = post("127.0.0.2").await;
    assert_eq!(status, 503, "{why}");
    assert!(why.contains("of this address"), "{why}");
    assert_eq!(post("127.0.0.3").await.0, 200);
    slow.pop()
        .unwrap()
        .write_all(body.as_bytes())
        .await
        .unwrap();
    const { assert!(MAX_HOOKS_PER_PEER < MAX_HOOKS) };
    server.stop();
    server.stopped().await;
}

#[tokio::test]
async fn a_compressed_payload_is_refused() {
    let (servo, _gate) = servo(None);
    let mut server = Server::start(servo).await;
    server.ready().await;
    let words = format!(
        "POST /hook HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: {JSON}\r\n\
         content-encoding: gzip\r\ncontent-length: 2\r\n\r\n\x1f\x0b"
    );
    let (status, why) = answer(&http::rest(&mut http::send(server.web, &words).await).await);
    assert_eq!(status, 415);
    assert!(why.contains("content-encoding"), "{why}");
    server.stop();
    server.stopped().await;
}
