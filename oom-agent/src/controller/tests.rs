//! From the API server's wire to its Events, lines and leases.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::counts::UpdateType;
use super::health::CurrentFailure;
use super::lease::LeaseHolder;
use super::reporter::Reporter;
use super::term;
use crate::k8s::Cluster;
use crate::k8s::fake::{self, Fake, Request, Response as Answer};
use crate::metrics::Metrics;
use crate::sinks::{Format, Lines, Sinks, Style};

const WITHIN: Duration = Duration::from_mins(3);

/// A pod whose containers of these ids were killed.
fn pod(name: &str, killed: &[&str]) -> Value {
    let now = Timestamp::now();
    let container = |(n, id): (usize, &&str)| {
        json!({"name": format!("c{n}"), "state": {"running": {}}, "lastState": {"terminated": {
            "containerID": format!("containerd://{id}"), "reason": "OOMKilled", "exitCode": 137,
            "startedAt": now.strftime("%Y-%m-%dT00:00:00Z").to_string(),
            "finishedAt": now.strftime("%Y-%m-%dT%H:%M:00Z").to_string()}}})
    };
    let statuses: Vec<Value> = killed.iter().enumerate().map(container).collect();
    json!({"metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "resourceVersion": "5"},
        "spec": {"nodeName": "node-a"}, "status": {"containerStatuses": statuses}})
}

fn list(pods: &[Value]) -> Answer {
    Answer::json(
        200,
        &json!({"metadata": {"resourceVersion": "5"}, "items": pods}),
    )
}

fn change(kind: &str, version: &str, mut pod: Value) -> Value {
    pod["metadata"]["resourceVersion"] = json!(version);
    json!({"type": kind, "object": pod})
}

/// Creates each Event once, as the API server does.
#[derive(Default)]
struct Events(HashSet<String>);

impl Events {
    fn create(&mut self, request: &Request) -> Answer {
        let name = request.body["metadata"]["name"]
            .as_str()
            .unwrap()
            .to_owned();
        if self.0.insert(name) {
            Answer::json(201, &request.body)
        } else {
            Answer::status(409)
        }
    }
}

fn none() -> Answer {
    Answer::json(200, &json!({"metadata": {}, "items": []}))
}

/// The containers that Events were requested for.
fn reported(requests: &[Request]) -> Vec<String> {
    let posts = requests
        .iter()
        .filter(|request| request.line.starts_with("POST"));
    let id = |request: &Request| {
        let annotations = &request.body["metadata"]["annotations"];
        annotations["oom-bonker.dev/container-id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    posts.map(id).collect()
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn reporter(cluster: &Cluster) -> (Reporter, Written) {
    let written = Written::default();
    let metrics = Arc::new(Metrics::default());
    let unwritten = metrics.lines_unwritten.clone();
    let out = written.clone();
    let style = Style::kills_only(Format::Json, TimeZone::UTC);
    let lines = Lines::start(style, out, None, unwritten).unwrap();
    let me = "me".to_owned();
    let reporter = Reporter::new(
        Duration::ZERO,
        cluster.clone(),
        me,
        Sinks::new(Arc::new(lines), Vec::new()),
        metrics,
    );
    (reporter, written)
}

fn an_hour_ago() -> Timestamp {
    Timestamp::now() - Duration::from_hours(1)
}

/// Leads until as many Events were requested; returns the lines.
async fn lead(fake: &mut Fake, cluster: &Cluster, events: usize) -> (Reporter, String) {
    let ((mut reporter, written), failure) = (reporter(cluster), CurrentFailure::default());
    let done = async {
        tokio::select! {
            () = term::run(cluster, &mut reporter, an_hour_ago(), &failure) => {}
            () = fake.wait_until(|requests| reported(requests).len() == events) => {}
        }
        reporter.drain().await;
    };
    timeout(WITHIN, done).await.unwrap();
    // The line's own thread.
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    (reporter, text)
}

#[tokio::test]
async fn every_kill_is_reported_once_over_repeats_broken_watches_and_a_relist() {
    let (mut lists, mut watches, mut events) = (0, 0, Events::default());
    let answer = move |request: &Request| {
        if request.line.starts_with("POST") {
            return events.create(request);
        }
        if request.line.contains("/events?") {
            return none();
        }
        if request.line.contains("watch=true") {
            watches += 1;
            return match watches {
                // A sibling is killed, then the same again; the stream breaks.
                1 => Answer::changes(&[
                    change("MODIFIED", "6", pod("a", &["1", "2"])),
                    change("MODIFIED", "7", pod("a", &["1", "2"])),
                ]),
                // The watch resumed there; the server has dropped the changes since.
                2 => Answer::changes(&[json!({"type": "ERROR", "object": fake::status(410).2})]),
                _ => Answer::open(&[
                    change("MODIFIED", "8", pod("a", &["1", "2"])),
                    change("DELETED", "9", pod("z", &["9"])),
                ]),
            };
        }
        lists += 1;
        match lists {
            1 => list(&[pod("a", &["1"]), pod("b", &[])]),
            _ => list(&[pod("a", &["1", "2"]), pod("c", &["3"])]),
        }
    };
    let (mut fake, cluster) = Fake::start_cluster(answer).await;
    let (reporter, _) = lead(&mut fake, &cluster, 4).await;
    let mut all = reported(&fake.requests());
    all.sort();
    assert_eq!(all, ["1", "2", "3", "9"]);
    let lines = fake.requests().into_iter().map(|request| request.line);
    let watched: Vec<String> = lines.filter(|line| line.contains("watch=true")).collect();
    assert!(watched[1].ends_with("resourceVersion=7"), "{watched:?}");
    assert_eq!(reporter.counter(UpdateType::EventSent).get(), 4);
    assert!(reporter.counter(UpdateType::SeenBefore).get() >= 5);
}

#[tokio::test]
async fn a_kill_whose_event_exists_is_counted_and_makes_no_line() {
    let mut events = Events::default();
    let answer = move |request: &Request| {
        if request.line.starts_with("POST") {
            return events.create(request);
        }
        match request.line.contains("watch=true") {
            true => Answer::open(&[]),
            false if request.line.contains("/events?") => none(),
            false => list(&[pod("a", &["1"])]),
        }
    };
    let (mut fake, cluster) = Fake::start_cluster(answer).await;
    let (first, _) = lead(&mut fake, &cluster, 1).await;
    assert_eq!(first.counter(UpdateType::EventSent).get(), 1);
    let (second, text) = lead(&mut fake, &cluster, 2).await;
    assert_eq!(second.counter(UpdateType::ReportedBefore).get(), 1);
    assert_eq!(second.counter(UpdateType::EventSent).get(), 0);
    assert_eq!(text, "");
}

#[tokio::test]
async fn a_kill_that_the_agent_has_reported_gets_no_event() {
    let answer = |request: &Request| {
        if request.line.starts_with("POST") {
            return Answer::json(201, &request.body);
        }
        if request.line.contains("/events?") {
            let event = json!({"metadata": {"annotations": {"oom-bonker.dev/container-id": "1"}},
                "eventTime": null, "regarding": {"name": "a"}});
            return Answer::json(200, &json!({"metadata": {}, "items": [event]}));
        }
        if request.line.contains("watch=true") {
            Answer::open(&[])
        } else {
            list(&[pod("a", &["1", "2"])])
        }
    };
    let (mut fake, cluster) = Fake::start_cluster(answer).await;
    let (reporter, _) = lead(&mut fake, &cluster, 1).await;
    assert_eq!(reported(&fake.requests()), ["2"]);
    assert_eq!(reporter.counter(UpdateType::ReportedByAgent).get(), 1);
}

#[tokio::test]
async fn a_kill_whose_event_is_refused_still_makes_its_line() {
    let answer = |request: &Request| {
        if request.line.starts_with("POST") || request.line.contains("/events?") {
            return Answer::status(403);
        }
        if request.line.contains("watch=true") {
            Answer::open(&[])
        } else {
            list(&[pod("a", &["17db"])])
        }
    };
    let (mut fake, cluster) = Fake::start_cluster(answer).await;
    let ((mut reporter, written), failure) = (reporter(&cluster), CurrentFailure::default());
    let done = async {
        tokio::select! {
            () = term::run(&cluster, &mut reporter, an_hour_ago(), &failure) => {}
            () = fake.wait_until(|requests| reported(requests).len() == 1) => {}
        }
        reporter.drain().await;
        assert_eq!(reporter.counter(UpdateType::EventFailed).get(), 1);
        reporter.finish().await;
    };
    timeout(WITHIN, done).await.unwrap();
    let line: Value = serde_json::from_slice(&written.0.lock().unwrap()).unwrap();
    assert_eq!(line["victims"][0]["container"]["id"], "17db");
    let degraded = line["degraded"].as_array().unwrap();
    assert!(
        degraded
            .iter()
            .any(|entry| entry.as_str().unwrap().starts_with("event: "))
    );
}

/// Stores one lease as the API server does.
#[derive(Default)]
struct Leases {
    lease: Option<Value>,
    version: u64,
}

impl Leases {
    fn answer(&mut self, request: &Request) -> Answer {
        if request.line.starts_with("GET") {
            return match &self.lease {
                Some(lease) => Answer::json(200, lease),
                None => Answer::status(404),
            };
        }
        let current = self
            .lease
            .as_ref()
            .map(|lease| &lease["metadata"]["resourceVersion"]);
        let over = request.body["metadata"].get("resourceVersion");
        if current != over {
            return Answer::status(409);
        }
        self.version += 1;
        let mut lease = request.body.clone();
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.lease = Some(lease.clone());
        Answer::json(200, &lease)
    }
}

fn candidate(cluster: &Cluster, name: &str) -> LeaseHolder {
    let failure = CurrentFailure::default();
    LeaseHolder::new(cluster.clone(), "l".to_owned(), name.to_owned(), failure)
}

#[tokio::test]
async fn the_second_candidate_leads_when_the_first_ends() {
    let mut leases = Leases::default();
    let (mut fake, cluster) = Fake::start_cluster(move |request| leases.answer(request)).await;
    let mut first = candidate(&cluster, "first");
    timeout(WITHIN, first.acquire()).await.unwrap();
    let mut second = candidate(&cluster, "second");
    let second = tokio::spawn(async move { second.acquire().await });
    let reads = |requests: &Vec<Request>| {
        requests
            .iter()
            .filter(|request| request.line.starts_with("GET"))
            .count()
    };
    timeout(WITHIN, fake.wait_until(|requests| reads(requests) >= 2))
        .await
        .unwrap();
    assert!(!second.is_finished());
    first.release().await;
    timeout(WITHIN, second).await.unwrap().unwrap();
    // Another holds it.
    timeout(WITHIN, first.keep()).await.unwrap();
    let writes: Vec<Value> = fake
        .requests()
        .into_iter()
        .filter(|request| request.line.starts_with('P'))
        .map(|request| request.body["spec"]["holderIdentity"].clone())
        .collect();
    assert_eq!(
        (&writes[0], writes.last().unwrap()),
        (&json!("first"), &json!("second"))
    );
    assert!(writes.contains(&json!("")), "released: {writes:?}");
}

/// `<` is six bytes in Go's JSON.
fn swollen(name: &str) -> Value {
    let mut pod = pod(name, &[]);
    pod["spec"]["containers"] = json!([{"name": "main", "args": ["\u{1}".repeat(1_400_000)]}]);
    pod
}

#[tokio::test]
async fn a_kill_behind_pods_of_many_megabytes_is_reported() {
    let mut events = Events::default();
    let mut items: Vec<Value> = (0..9).map(|n| swollen(&format!("big{n}"))).collect();
    items.push(pod("a", &["listed"]));
    let watched = [
        change("MODIFIED", "6", swollen("big")),
        change("MODIFIED", "7", pod("b", &["watched"])),
    ];
    let answer = move |request: &Request| match request.line.as_str() {
        line if line.contains("watch=true") && line.contains("resourceVersion=5") => {
            Answer::open(&watched)
        }
        line if line.contains("watch=true") => Answer::open(&[]),
        line if line.starts_with("GET /api/v1/pods") => list(&items),
        line if line.starts_with("POST") => events.create(request),
        _ => none(),
    };
    let (mut fake, cluster) = Fake::start_cluster(answer).await;
    lead(&mut fake, &cluster, 2).await;
    assert_eq!(reported(&fake.requests()), ["listed", "watched"]);
}

#[tokio::test]
async fn pods_that_are_too_large_for_a_page_come_on_smaller_ones() {
    let mut events = Events::default();
    // Short strings of it, and many: 25 MiB.
    let mut large = pod("large", &["a"]);
    large["spec"]["env"] = json!(vec!["\u{1}".repeat(100); 44_000]);
    let pages = [large, pod("b", &["b"])];
    let answer = move |request: &Request| {
        let line = request.line.as_str();
        if line.starts_with("POST") {
            return events.create(request);
        }
        if line.contains("watch=true") {
            return Answer::open(&[]);
        }
        if !line.starts_with("GET /api/v1/pods") {
            return none();
        }
        let second = usize::from(line.contains("continue=more"));
        if line.contains("limit=100") {
            return list(&pages);
        }
        let mut body = json!({"metadata": {"resourceVersion": "5"}, "items": [pages[second]]});
        if second == 0 {
            body["items"][0]["spec"] = json!({});
            body["metadata"]["continue"] = json!("more");
        }
        Answer::json(200, &body)
    };
    let (mut fake, cluster) = Fake::start_cluster(answer).await;
    lead(&mut fake, &cluster, 2).await;
    assert_eq!(reported(&fake.requests()), ["a", "b"]);
}
