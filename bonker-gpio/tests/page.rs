#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a helper of tests may panic"
)]

//! The page from outside, over real sockets: what it shows, and who may press its buttons.

mod common;

use std::net::SocketAddr;

use bonker_gpio::{MAX_HTTP_CONNECTIONS_PER_PEER, MAX_LISTENERS};
use common::{Server, item, servo, within};
use proto::bonk::{BonkRequest, Outcome};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::{TcpSocket, TcpStream};

async fn started() -> (Server, common::Gate) {
    let (servo, gate) = servo(None);
    let mut server = Server::start(servo).await;
    server.ready().await;
    (server, gate)
}

async fn send(web: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(web).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

async fn get(server: &Server, path: &str, more: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{more}\r\n");
    send(server.web, &request).await
}

/// A page that listens.
struct Listener(Lines<BufReader<TcpStream>>);

/// Name, id and data of an event.
type Event = (String, String, Value);

impl Listener {
    async fn new(server: &Server, last: Option<&str>) -> Self {
        let stream = TcpStream::connect(server.web).await.unwrap();
        Self::on(stream, last).await
    }

    async fn on(mut stream: TcpStream, last: Option<&str>) -> Self {
        let last = last.map(|last| format!("last-event-id: {last}\r\n"));
        let last = last.unwrap_or_default();
        let request = format!("GET /events HTTP/1.1\r\nhost: a\r\n{last}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Self(BufReader::new(stream).lines())
    }

    async fn line(&mut self) -> Option<String> {
        within(self.0.next_line()).await.unwrap_or_default()
    }

    async fn event(&mut self) -> Event {
        let mut event = <(String, String, Value)>::default();
        loop {
            let line = self.line().await.expect("an event");
            if let Some(id) = line.strip_prefix("id: ") {
                id.clone_into(&mut event.1);
            } else if let Some(name) = line.strip_prefix("event: ") {
                name.clone_into(&mut event.0);
            } else if let Some(data) = line.strip_prefix("data: ") {
                event.2 = serde_json::from_str(data).unwrap();
                return event;
            }
        }
    }

    async fn expect(&mut self, name: &str) -> Event {
        let event = self.event().await;
        assert_eq!(event.0, name, "{event:?}");
        event
    }
}

async fn bonk(server: &Server, id: &str) {
    let mut swings = server.app.watch();
    let request = BonkRequest {
        item: Some(proto::bonk::BonkItem {
            pod: id.to_owned(),
            ..item(id)
        }),
    };
    let answer = server.client().await.bonk(request).await.unwrap();
    let answer = answer.into_inner().acknowledgement.unwrap();
    assert_eq!(answer.outcome(), Outcome::Accepted);
    within(swings.recv()).await.unwrap();
}

fn pod(event: &Event) -> &str {
    let pod = event.2.pointer("/incident/pod").and_then(Value::as_str);
    pod.unwrap_or_default()
}

#[tokio::test]
async fn a_stream_goes_on_where_it_broke_and_repeats_nothing() {
    let (mut server, _gate) = started().await;
    let mut page = Listener::new(&server, None).await;
    let state = page.expect("state").await;
    assert_eq!(state.2.get("total"), Some(&0.into()));
    assert_eq!(state.2.pointer("/incidents"), Some(&Value::Array(vec![])));
    bonk(&server, "a").await;
    let first = page.expect("bonk").await;
    assert_eq!((pod(&first), first.2.get("total")), ("a", Some(&1.into())));
    drop(page);
    bonk(&server, "b").await;
    bonk(&server, "c").await;

    let mut back = Listener::new(&server, Some(&first.1)).await;
    let state = back.expect("state").await;
    assert_eq!(state.1, first.1);
    assert_eq!(state.2.pointer("/incidents"), None);
    let events = [back.expect("bonk").await, back.expect("bonk").await];
    assert_eq!(events.each_ref().map(pod), ["b", "c"]);
    let behind = events
        .each_ref()
        .map(|event| event.2.get("behind").cloned());
    assert_eq!(behind, [Some(true.into()), Some(false.into())]);
    bonk(&server, "d").await;
    assert_eq!(pod(&back.expect("bonk").await), "d");

    let mut stranger = Listener::new(&server, Some("elsewhere-7")).await;
    let state = stranger.expect("state").await;
    let pods = state.2.get("incidents").and_then(Value::as_array).unwrap();
    assert_eq!(pods.len(), 4);
    assert_eq!(pods.first().and_then(|it| it.get("pod")), Some(&"d".into()));
    server.stop();
    server.stopped().await;
}

#[tokio::test]
async fn a_page_that_missed_too_much_gets_the_whole_state() {
    let (mut server, _gate) = started().await;
    let mut page = Listener::new(&server, None).await;
    let begin = page.expect("state").await.1;
    for n in 0..51 {
        bonk(&server, &format!("{n}")).await;
    }
    let mut back = Listener::new(&server, Some(&begin)).await;
    let state = back.expect("state").await;
    let rows = state.2.get("incidents").and_then(Value::as_array);
    assert_eq!(rows.map(Vec::len), Some(50));
    bonk(&server, "last").await;
    assert_eq!(pod(&back.expect("bonk").await), "last");
    server.stop();
    server.stopped().await;
}

#[tokio::test]
async fn every_page_hears_of_a_snooze_and_streams_end_with_the_server() {
    let (mut server, _gate) = started().await;
    let mut page = Listener::new(&server, None).await;
    page.expect("state").await;
    server.app.snooze(std::time::Duration::from_mins(1));
    let snooze = page.expect("snooze").await;
    assert!(snooze.2.get("snoozed_until").is_some_and(Value::is_string));
    server.app.snooze(std::time::Duration::ZERO);
    let snooze = page.expect("snooze").await;
    assert_eq!(snooze.2.get("snoozed_until"), Some(&Value::Null));

    server.stop();
    server.stopped().await;
    while page.line().await.is_some() {}
}

#[tokio::test]
async fn so_many_pages_listen_and_no_more() {
    let (mut server, _gate) = started().await;
    let mut pages = Vec::new();
    let from = |n: usize| {
        let socket = TcpSocket::new_v4().unwrap();
        let host = 2 + n / (MAX_HTTP_CONNECTIONS_PER_PEER - 1);
        let local = format!("127.0.0.{host}:0").parse().unwrap();
        socket.bind(local).unwrap();
        socket.connect(server.web)
    };
    for n in 0..MAX_LISTENERS {
        let mut page = Listener::on(from(n).await.unwrap(), None).await;
        page.expect("state").await;
        pages.push(page);
    }
    let refused = get(&server, "/events", "").await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("retry-after: "), "{refused}");
    bonk(&server, "a").await;
    for page in &mut pages {
        assert_eq!(pod(&page.expect("bonk").await), "a");
    }
    pages.clear();
    // The places are free once the server has seen that the pages are gone.
    loop {
        let mut again = Listener::new(&server, None).await;
        if again.line().await.is_some_and(|head| head.contains("200")) {
            break;
        }
    }
    server.stop();
    server.stopped().await;
}

#[tokio::test]
async fn the_stream_of_events_is_not_stored() {
    let (mut server, _gate) = started().await;
    let mut page = Listener::new(&server, None).await;
    let mut head = Vec::new();
    loop {
        match page.line().await {
            Some(line) if !line.is_empty() => head.push(line),
            _ => break,
        }
    }
    assert!(
        head.iter().any(|line| line == "cache-control: no-store"),
        "{head:?}"
    );
    drop(page);
    server.stop();
    server.stopped().await;
}

#[tokio::test]
async fn browsers_get_the_page_once_and_others_a_shrug() {
    let (mut server, _gate) = started().await;
    let plain = get(&server, "/", "accept: */*\r\n").await;
    assert!(plain.starts_with("HTTP/1.1 200 "), "{plain}");
    assert!(!plain.contains("<html"), "{plain}");
    let page = get(&server, "/", "accept: text/html,*/*;q=0.8\r\n").await;
    assert!(page.contains("<!DOCTYPE html>"), "{page}");
    let head = page.split("\r\n\r\n").next().unwrap();
    for header in [
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; \
         connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "content-type: text/html; charset=utf-8",
        "cache-control: no-cache",
        "vary: accept",
    ] {
        assert!(head.contains(header), "no {header} in {head}");
    }
    let script = get(&server, "/page.js", "").await;
    let tag = script.lines().find_map(|line| line.strip_prefix("etag: "));
    let known = format!("if-none-match: {}\r\n", tag.unwrap());
    let again = get(&server, "/page.js", &known).await;
    assert!(again.starts_with("HTTP/1.1 304 "), "{again}");
    assert!(again.ends_with("\r\n\r\n"), "{again}");
    server.stop();
    server.stopped().await;
}

async fn press(server: &Server, path: &str, headers: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    let answer = send(server.web, &request).await;
    let status = answer.get(9..12).and_then(|code| code.parse().ok());
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    (status.unwrap(), body.to_owned())
}

const OWN: &str = "host: 127.0.0.1\r\ncontent-type: application/json\r\n";

#[tokio::test]
async fn a_press_from_elsewhere_or_of_nonsense_moves_nothing() {
    let (mut server, _gate) = started().await;
    let fine = r#"{"severity":"kill"}"#;
    let kind = "host: 127.0.0.1\r\ncontent-type: text/plain\r\n";
    let rebound = "host: evil.example\r\ncontent-type: application/json\r\n";
    let foreign = format!("{OWN}origin: http://evil.example\r\n");
    let cross = format!("{OWN}sec-fetch-site: cross-site\r\n");
    let long = format!("{fine}{}", " ".repeat(4096));
    for (headers, body, status) in [
        (kind, fine, 415),
        (rebound, fine, 403),
        (foreign.as_str(), fine, 403),
        (cross.as_str(), fine, 403),
        (OWN, "", 400),
        (OWN, "[]", 400),
        (OWN, r#"{"severity":"mild"}"#, 400),
        (OWN, r#"{"severity":"kill","id":"mine"}"#, 400),
        (OWN, long.as_str(), 413),
    ] {
        let (code, output) = press(&server, "/api/bonk", headers, body).await;
        assert_eq!(code, status, "{headers} {body} {output}");
        let output: Value = serde_json::from_str(&output).unwrap();
        assert!(
            output.get("error").is_some_and(Value::is_string),
            "{output}"
        );
    }
    for body in [r#"{"seconds":-1}"#, r#"{"seconds":604801}"#, "{}"] {
        let (code, output) = press(&server, "/api/snooze", OWN, body).await;
        assert_eq!(code, 400, "{body} {output}");
    }
    let shown = get(&server, "/api/bonk", "").await;
    assert!(shown.starts_with("HTTP/1.1 405 "), "{shown}");
    let status = server.app.status();
    assert_eq!((status.swings, status.queue_length), (0, 0));
    assert_eq!(status.snoozed_until, None);
    server.stop();
    server.stopped().await;
}

/// The clock is paused: it moves as soon as nobody has anything to do.
#[tokio::test]
async fn the_body_of_a_press_that_does_not_come_is_not_waited_for() {
    let (server, _gate) = started().await;
    tokio::time::pause();
    for path in ["/api/bonk", "/api/snooze"] {
        let request = format!("POST {path} HTTP/1.1\r\ncontent-length: 9\r\n{OWN}\r\n{{");
        let answer = send(server.web, &request).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("no whole body within 5 s"), "{answer}");
    }
}

#[tokio::test]
async fn a_press_goes_by_the_rules_of_every_bonk() {
    let (mut server, _gate) = started().await;
    let mut swings = server.app.watch();
    let (code, output) = press(&server, "/api/bonk", OWN, r#"{"severity":"node"}"#).await;
    assert_eq!(
        (code, output.as_str()),
        (200, r#"{"outcome":"accepted","message":""}"#)
    );
    let swung = within(swings.recv()).await.unwrap();
    assert_eq!(swung.bonk.source, "page");
    assert_eq!(swung.bonk.severity, bonker_gpio::Severity::Node);
    let (code, output) = press(&server, "/api/snooze", OWN, r#"{"seconds":60}"#).await;
    assert!(
        code == 200 && output.contains("\"snoozed_until\":\"20"),
        "{output}"
    );
    let (code, output) = press(&server, "/api/bonk", OWN, r#"{"severity":"kill"}"#).await;
    assert!(
        code == 200 && output.contains("\"outcome\":\"quiet\""),
        "{output}"
    );
    let (code, output) = press(&server, "/api/snooze", OWN, r#"{"seconds":0}"#).await;
    assert_eq!((code, output.as_str()), (200, r#"{"snoozed_until":null}"#));
    server.stop();
    server.stopped().await;
}
